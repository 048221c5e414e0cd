//! A user as they see themselves.

use serde::Serialize;

use crate::domain::{PublicUser, UserId};

/// A person who sells or buys.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = User)]
pub struct UserView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: UserId,
    /// In its canonical form.
    #[schema(format = "email", max_length = 254)]
    pub email: &'a str,
}

impl<'a> UserView<'a> {
    pub fn of(card: &'a PublicUser) -> Self {
        Self { id: card.id, email: card.email.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::{domain::Email, wire::samples};

    #[test]
    fn a_user_is_an_id_and_an_address() {
        let card = PublicUser { id: samples::buyer(), email: Email::parse(" Ada@Example.COM").expect("an address") };
        assert_eq!(
            to_value(UserView::of(&card)).expect("JSON"),
            json!({"id": "01990000-0000-7000-8000-000000000009", "email": "ada@example.com"})
        );
    }
}
