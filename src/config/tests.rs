//! Tests of the settings, one by one and together. They use flags only, so that the environment has
//! no effect.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

fn config(flags: &[&str]) -> Result<Config, String> {
    let cli =
        Cli::try_parse_from([&["gittix"], flags].concat()).map_err(|error| error.to_string())?;
    cli.config.checked()
}

const HTTPS: &str = "--public-origin=https://tickets.example";

#[test]
fn zero_duration_is_accepted_only_where_it_turns_something_off() {
    assert_eq!(config(&["--relock-wait=0s"]).expect("no wait").policy().relock_wait, Millis(0));
    assert_eq!(config(&["--store-wait=0s"]).expect("one attempt").store_wait, Millis(0));
    for flag in [
        "--payment-window",
        "--lock-duration",
        "--settle-grace",
        "--session-ttl",
        "--stripe-timeout",
    ] {
        config(&[&format!("{flag}=0s")]).expect_err(flag);
    }
}

#[test]
fn lists_accept_single_addresses_and_spaces() {
    let read = config(&[
        "--trusted-proxies= 10.0.0.1 , 192.168.0.0/16,  ::1 ",
        "--public-origin=http://a.example , http://b.example:8080 ",
    ]);
    let read = read.expect("lists");
    let networks: Vec<String> = read.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.1/32", "192.168.0.0/16", "::1/128"]);
    let origins: Vec<&str> = read.public_origin.iter().map(Origin::as_str).collect();
    assert_eq!(origins, ["http://a.example", "http://b.example:8080"]);
}

#[test]
fn listen_address_accepts_a_host_name() {
    for (text, shown) in [
        ("localhost:3000", "localhost:3000"),
        ("[::1]:80", "[::1]:80"),
        (" 127.0.0.1:0 ", "127.0.0.1:0"),
    ] {
        assert_eq!(text.parse::<HostPort>().expect(text).to_string(), shown);
    }
    for text in [
        "localhost",
        ":3000",
        "localhost:",
        "localhost:http",
        "local host:1",
        "http://localhost:1",
        "user:secret@host:1",
        "::1:80",
    ] {
        text.parse::<HostPort>().expect_err(text);
    }
    let addrs =
        "localhost:3000".parse::<HostPort>().expect("a name").resolve().expect("it has addresses");
    assert!(
        addrs.contains(&SocketAddr::from(([127, 0, 0, 1], 3000))) && addrs[0].is_ipv4(),
        "{addrs:?}"
    );
}

#[test]
fn https_origin_requires_a_live_key_unless_the_sandbox_is_allowed() {
    let test = "--stripe-secret-key=sk_test_1";
    for flags in
        [&[HTTPS][..], &[HTTPS, test], &["--public-origin=https://a.example,http://b.example"]]
    {
        let error = config(flags).expect_err("no real payment would be taken");
        assert!(
            error.contains("GITTIX_ALLOW_SANDBOX")
                && error.contains("STRIPE_SECRET_KEY")
                && !error.contains('\n'),
            "{error}"
        );
        config(&[flags, &["--allow-sandbox=true"]].concat()).expect("allowed");
    }
    for key in ["sk_live_1", "rk_live_1"] {
        config(&[HTTPS, &format!("--stripe-secret-key={key}")]).expect("real payments are taken");
    }
    config(&["--public-origin=http://a.example,https://b.example"])
        .expect("the first origin decides");
    config(&[]).expect("no origin");
}

#[test]
fn credentials_in_urls_are_hidden() {
    let cases = [
        ("mongodb://user:secret@host:1/?a=b", "mongodb://…@host:1/?a=b"),
        ("\"https://user:sec/r@et@host\" is not valid", "\"https://…@host\" is not valid"),
        ("two: http://a:b@c d http://e:f@g", "two: http://…@c d http://…@g"),
        ("http://host/path and user@host", "http://host/path and user@host"),
    ];
    for (text, hidden) in cases {
        assert_eq!(without_credentials(text), hidden);
    }
}
