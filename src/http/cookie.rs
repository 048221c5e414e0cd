//! The session's cookie. What it holds is the actors' business; here it is read, set and cleared.

use actix_web::{
    cookie::{Cookie, SameSite, time::Duration},
    http::header::{self, HeaderMap},
};

use crate::{actors::SessionToken, domain::Millis};

/// How this server's session cookie is called and marked.
#[derive(Debug, Clone, Copy)]
pub struct SessionCookie {
    secure: bool,
    ttl: Millis,
}

impl SessionCookie {
    /// A token of ours is shorter; what is longer needs no look-up.
    const TOKEN_CHARS_MAX: usize = 128;

    /// `secure`: browsers reach us by https. `ttl`: as long as the session itself.
    pub fn new(secure: bool, ttl: Millis) -> Self {
        Self { secure, ttl }
    }

    /// The `__Host-` prefix makes browsers refuse the cookie from a sibling domain or over http (RFC 6265bis §4.1.3.2).
    pub fn name(self) -> &'static str {
        if self.secure { "__Host-gittix_session" } else { "gittix_session" }
    }

    /// The token that a request carries.
    pub fn read(self, headers: &HeaderMap) -> Option<&str> {
        let lines = headers.get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let token = pairs.find(|(name, _)| *name == self.name())?.1;
        (!token.is_empty() && token.len() <= Self::TOKEN_CHARS_MAX).then_some(token)
    }

    /// Lets a browser keep `token`.
    pub fn set(self, token: SessionToken) -> Cookie<'static> {
        self.holding(token.0, Duration::milliseconds(self.ttl.0))
    }

    /// Makes a browser forget it.
    pub fn clear(self) -> Cookie<'static> {
        self.holding(String::new(), Duration::ZERO)
    }

    fn holding(self, value: String, age: Duration) -> Cookie<'static> {
        Cookie::build(self.name(), value).http_only(true).same_site(SameSite::Lax).path("/").secure(self.secure).max_age(age).finish()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const WEEK: Millis = Millis::from_mins(7 * 24 * 60);

    #[test]
    fn the_cookie_is_kept_from_scripts_and_other_sites() {
        let plain = SessionCookie::new(false, WEEK).set(SessionToken("abc".into())).to_string();
        assert_eq!(plain, "gittix_session=abc; HttpOnly; SameSite=Lax; Path=/; Max-Age=604800");
        let secure = SessionCookie::new(true, WEEK).clear().to_string();
        assert_eq!(secure, "__Host-gittix_session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
    }

    #[test]
    fn only_the_cookie_of_this_name_is_read() {
        let token = |text: &'static str| {
            let request = TestRequest::get().append_header(("cookie", text)).to_http_request();
            SessionCookie::new(false, WEEK).read(request.headers()).map(str::to_owned)
        };
        assert_eq!(token("a=b; gittix_session=abc; c=d").as_deref(), Some("abc"));
        assert_eq!(token("xgittix_session=abc; __Host-gittix_session=def"), None);
        assert_eq!(token("gittix_session="), None);
        assert_eq!(token("gittix_session"), None);
    }
}
