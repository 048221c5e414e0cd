//! The public form of a user, for that user.

use serde::Serialize;

use crate::domain::{Email, PublicUser, UserId};

/// A user, who can sell and buy.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub struct UserView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: UserId,
    /// The email address, in its canonical form.
    #[schema(format = "email", max_length = 254)]
    pub email: &'a str,
    /// Whether the user has confirmed that the address is theirs.
    pub email_verified: bool,
    /// The new address, which takes effect when it is confirmed.
    #[schema(required = true, format = "email", max_length = 254)]
    pub pending_email: Option<&'a str>,
}

impl<'a> UserView<'a> {
    pub fn of(user: &'a PublicUser) -> Self {
        Self {
            id: user.id,
            email: user.email.as_str(),
            email_verified: user.email_verified,
            pending_email: user.pending_email.as_ref().map(Email::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::wire::samples;

    #[test]
    fn user_has_an_id_an_email_and_what_is_confirmed_of_it() {
        let user = PublicUser {
            id: samples::buyer(),
            email: Email::parse(" Ada@Example.COM").expect("an address"),
            email_verified: false,
            pending_email: Email::parse("ada@example.org").ok(),
        };
        assert_eq!(
            to_value(UserView::of(&user)).expect("JSON"),
            json!({
                "id": "01990000-0000-7000-8000-000000000009",
                "email": "ada@example.com",
                "emailVerified": false,
                "pendingEmail": "ada@example.org",
            })
        );
    }
}
