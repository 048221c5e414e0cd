//! The public form of a user, for that user.

use serde::Serialize;

use crate::domain::{PublicUser, UserId};

/// A user, who can sell and buy.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = User)]
pub struct UserView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: UserId,
    /// The email address, in its canonical form.
    #[schema(format = "email", max_length = 254)]
    pub email: &'a str,
}

impl<'a> UserView<'a> {
    pub fn of(user: &'a PublicUser) -> Self {
        Self { id: user.id, email: user.email.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::{domain::Email, wire::samples};

    #[test]
    fn user_has_an_id_and_an_email() {
        let user = PublicUser {
            id: samples::buyer(),
            email: Email::parse(" Ada@Example.COM").expect("an address"),
        };
        assert_eq!(
            to_value(UserView::of(&user)).expect("JSON"),
            json!({"id": "01990000-0000-7000-8000-000000000009", "email": "ada@example.com"})
        );
    }
}
