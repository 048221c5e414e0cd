//! HTTP clients.

/// Returns the builder of an HTTP client. Every client is made with it, because a client needs the
/// process's provider of cryptography for TLS: ring, which MongoDB's driver uses too.
#[expect(clippy::disallowed_methods, reason = "the only place that may call it")]
pub fn builder() -> reqwest::ClientBuilder {
    // An error means that the process has a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
