//! What is said about a bad file, and where.

use super::{BASE, problems, warnings, with};

#[test]
fn a_file_with_five_mistakes_gives_five_problems_with_places() {
    let text = "[gateway]\nlisten = \"nowhere\"\nmax_in_flight = 0\n[auth]\nleeway_secs = \"30\"\n\
                [roles.operator]\nalow = [\"*\"]\n[[backends]]\nname = \"ä\"\nprefix = \"a\"\nurl = \"ftp://x\"\n";
    let said = problems(text);
    assert_eq!(said.len(), 5, "{said:#?}");
    for (line, start) in said.iter().zip([
        "sentinel.toml:2:10: gateway.listen: \"nowhere\" is no address; write ",
        "sentinel.toml:3:17: gateway.max_in_flight: 0 is out of range; it must be 1 to 65536",
        "sentinel.toml:5:15: auth.leeway_secs: a whole number is wanted, not a string; ",
        "sentinel.toml:7:1: unknown key roles.operator.alow; did you mean `allow`?",
        "sentinel.toml:11:7: backends[0].url: only http and https are spoken; write ",
    ]) {
        assert!(line.starts_with(start), "{line}\n  wanted: {start}");
    }
}

#[test]
fn columns_count_characters() {
    let said = problems("[auth]\nmode = 'jwt' # x\n[roles]\n'öäü' = { alow = [] }\n");
    assert!(said[0].starts_with("sentinel.toml:4:11: unknown key roles.öäü.alow"), "{said:?}");
}

#[test]
fn broken_toml_is_reported_with_what_is_wrong_elsewhere() {
    let said = problems("[auth]\nmode = \n[gateway]\nmax_in_flight = 0\nlisten = = 3\n");
    assert!(said.iter().any(|line| line.starts_with("sentinel.toml:2:") && line.contains("not TOML")), "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("sentinel.toml:4:17: gateway.max_in_flight")), "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("sentinel.toml:5:")), "{said:#?}");
}

#[test]
fn auth_is_refused_when_nobody_or_everybody_could_come_in_by_accident() {
    let roles = "[roles.a]\nallow = ['*']\n";
    let key = "[[auth.keys]]\nalgorithm = 'ES256'\npublic_key_file = 'a.pem'\n";
    let cases: Vec<(String, &[&str])> = vec![
        (roles.to_owned(), &["1:1: [auth] is missing", "mode = \"none\""]),
        (format!("[auth]\nbuilt_in_key = false\n{roles}"), &["nobody could come in"]),
        (format!("[auth]\nmode = 'none'\nissuer = 'x'\n{key}{roles}"), &["lets everyone in"]),
        (format!("[auth]\nmode = 'maybe'\n{roles}"), &["write \"jwt\" or \"none\""]),
        (format!("[auth]\nleeway_secs = 121\n{roles}"), &["0 to 120"]),
        (format!("[auth]\ndefault_role = 'aa'\n{roles}"), &["there is no role \"aa\"; did you mean \"a\"?"]),
        (format!("[auth]\n{key}{roles}"), &["no issuer"]),
        (format!("[auth]\nissuer = 'x'\n{key}{key}{roles}"), &["two ES256 keys without `kid`"]),
        (
            format!("[auth]\nissuer = 'x'\n{key}kid = 'k'\n{}kid = 'k'\n{roles}", key.replace("ES256", "RS256")),
            &["kid \"k\" stands twice"],
        ),
        (format!("[auth]\nissuer = 'x'\n{key}kid = 'sentinel'\n{roles}"), &["id of the built-in key"]),
        (
            format!("[auth]\nissuer = 'x'\n{}{roles}", key.replace("ES256", "none")),
            &["\"none\" is not known", "\"EdDSA\""],
        ),
        (format!("[auth]\nissuer = 'x'\n{}{roles}", key.replace("ES256", "HS256")), &["a public key is none"]),
        (
            format!("[auth]\nissuer = 'x'\n{}{roles}", key.replace("public_key_file = 'a.pem'", "secret_env = 'A'")),
            &["is checked with a public key"],
        ),
        (
            format!("[auth]\nissuer = 'x'\n[[auth.keys]]\nalgorithm = 'HS256'\nsecret_env = '${{A}}'\n{roles}"),
            &["without ${ }"],
        ),
        (
            format!(
                "[auth]\nissuer = 'x'\n[[auth.keys]]\nalgorithm = 'HS256'\nsecret_env = 'A'\nsecret_file = 'b'\n{roles}"
            ),
            &["two secrets"],
        ),
        (format!("[auth]\nsecret = 'abc'\n{roles}"), &["literal secret", "[[auth.keys]]"]),
        (format!("[auth]\n{roles}[[auth.jwks]]\nurl = 'https://x'\n"), &["auth.jwks comes later"]),
    ];
    for (text, words) in cases {
        let said = problems(&text);
        assert_eq!(said.len(), 1, "{text}\n{said:#?}");
        for word in words {
            assert!(said[0].contains(word), "{text}\n{}\n  wanted: {word}", said[0]);
        }
    }
}

#[test]
fn a_file_that_is_too_long_is_refused_unread() {
    let said = problems(&"#\n".repeat(super::super::MAX_FILE_BYTES));
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("at most"), "{said:?}");
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let url = |url: &str| warnings(&with(&format!("[[backends]]\nname = 'a'\nurl = '{url}'\n")));
    assert!(url("http://mcp.example.com/mcp")[0].contains("use https"));
    assert!(url("https://x.example.com/?exaApiKey=1")[0].contains("literal secret"));
    for private in
        ["http://127.0.0.1:1/", "http://[::1]:1/", "http://n8n:5678/mcp", "http://10.0.0.8/", "http://${HOST}/"]
    {
        assert!(url(private).is_empty(), "{private}");
    }
    let long = |length: usize| format!("[[backends]]\nname = '{}'\ncommand = 'x'\n", "n".repeat(length));
    assert!(warnings(&with(&long(47)))[0].contains("at most 49"));
    assert!(warnings(&with(&long(46))).is_empty());
    assert!(problems(&with(&long(62)))[0].contains("no tool name fits"));
    let kill = warnings(&with("[kill_switch]\nroles = ['operater']\n"));
    assert!(kill[0].contains("did you mean \"operator\"?"), "{kill:?}");
    assert!(warnings("[auth]\n")[0].contains("there is no role"));
    assert!(warnings(BASE).is_empty());
}

#[test]
fn endless_problems_have_an_end_and_are_found_in_time() {
    let text: String = (0..3_000).map(|line| format!("k{line} = = ${{\n")).collect();
    let said = problems(&text);
    assert_eq!(said.len(), 1001);
    assert!(said[1000].contains("more from here on"), "{}", said[1000]);
    let long = problems(&with(&format!("[gateway]\nlisten = '{}'\n", "x".repeat(100_000))));
    assert!(long[0].chars().count() < 1100, "{}", long[0].len());
    let odd = problems(&with("[[backends]]\nname = 'a'\ncommand = 'b'\nenv = { \"a\\nb\" = 'c' }\n"));
    assert!(!odd[0].contains('\n'), "{odd:?}");
}
