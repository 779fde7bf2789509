//! What becomes of each key of a client's file.

use super::*;

fn imported(text: &str) -> Result<Imported, Vec<Mistake>> {
    let world = World::made_of(&[("HOME", "/home/me"), ("SET", "here")]);
    let root = jsonc::parse(text).unwrap();
    read(text, &root, &Held::default(), Path::new("/home/me/p"), &world)
}

fn good(text: &str) -> Imported {
    imported(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn notes(imported: &Imported) -> String {
    imported.notes.iter().map(|note| format!("{note}\n")).collect()
}

fn one(server: &str) -> (Backend, Vec<(String, String)>, String) {
    let mut all = good(&format!("{{\"mcpServers\": {{\"srv\": {server}}}}}"));
    let notes = notes(&all);
    (all.backends.remove(0), all.vars, notes)
}

#[test]
fn a_stdio_server_keeps_its_command_and_its_secrets_become_variables() {
    let (backend, vars, _) = one(
        r#"{"command": "npx", "args": ["-y", "@x/server@1.2.3", "--api-key", "abc", "--token=def", "postgres://u:p@h/db"],
            "env": {"MODE": "stdio", "SRV_TOKEN": "t0p", "LOGIN": "hunter2"}}"#,
    );
    let Kind::Stdio { command, args, env, .. } = backend.kind else { panic!("stdio") };
    assert_eq!(command, "npx");
    assert_eq!(args, ["-y", "@x/server@1.2.3", "--api-key", "${SRV_API_KEY}", "--token=${SRV_TOKEN}", "${SRV_ARG_5}"]);
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("MODE", "stdio"), ("SRV_TOKEN", "${SRV_TOKEN_2}"), ("LOGIN", "${SRV_LOGIN}")]);
    let values: Vec<&str> = vars.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["abc", "def", "postgres://u:p@h/db", "t0p", "hunter2"]);
}

#[test]
fn a_url_loses_its_secrets_wherever_they_stand() {
    let (backend, vars, notes) = one(
        r#"{"type": "http", "url": "https://me:p%40ss@h.example/s/9f8e7d6c5b4a39281706f5e4d3c2b1a0/mcp?exaApiKey=K&mode=x#f",
            "headers": {"X-Api-Key": "k", "Accept": "*/*", "X-Mode": "full"}}"#,
    );
    let Kind::Http { url, headers, is_sse: false } = backend.kind else { panic!("http") };
    assert_eq!(url, "https://h.example/s/${SRV_PATH_KEY}/mcp?exaApiKey=${SRV_EXAAPIKEY}&mode=x");
    assert_eq!(headers[0], ("X-Api-Key".to_owned(), "${SRV_X_API_KEY}".to_owned()));
    assert_eq!(headers[2], ("Authorization".to_owned(), "Basic ${SRV_BASIC}".to_owned()));
    assert!(vars.contains(&("SRV_BASIC".to_owned(), "bWU6cEBzcw==".to_owned())), "{vars:?}");
    assert!(notes.contains("headers.Accept: not carried over") && notes.contains("#f is never sent"), "{notes}");
}

#[test]
fn bearer_stays_readable_and_references_stay_references() {
    let (backend, vars, _) = one(r#"{"url": "http://h/mcp", "headers": {"Authorization": "Bearer abc"}}"#);
    let Kind::Http { headers, .. } = backend.kind else { panic!("http") };
    assert_eq!(headers[0].1, "Bearer ${SRV_TOKEN}");
    assert_eq!(vars, [("SRV_TOKEN".to_owned(), "abc".to_owned())]);
    let all = good(r#"{"mcpServers": {"a": {"command": "x", "env": {"T_TOKEN": "${SET}", "U_TOKEN": "${UNSET}"}}}}"#);
    assert!(all.vars.is_empty());
    assert_eq!(all.needed.keys().collect::<Vec<_>>(), ["UNSET"]);
}

#[test]
fn a_secret_default_is_moved() {
    let (backend, vars, notes) = one(r#"{"command": "x", "env": {"A_TOKEN": "${A_TOKEN:-abc}"}}"#);
    let Kind::Stdio { env, .. } = backend.kind else { panic!("stdio") };
    assert_eq!(env[0].1, "${SRV_A_TOKEN}");
    assert_eq!(vars, [("SRV_A_TOKEN".to_owned(), "abc".to_owned())]);
    assert!(notes.contains("default after :-"), "{notes}");
}

#[test]
fn nothing_is_lost_in_silence() {
    let all = good(
        r#"{
  "$schema": "x", "inputs": [],
  "mcpServers": {
    "My Server": {"command": "npx -y foo", "timeout": 5000, "odd": 1},
    "My-Server": {"command": "cmd", "args": ["/c", "npx", "bar"]},
    "off": {"command": "x", "disabled": true},
    "old": {"type": "sse", "url": "http://h/sse"},
    "odd": {"type": "ws", "url": "http://h/ws"}
  }
}"#,
    );
    let names: Vec<&str> = all.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["My-Server", "My-Server-2", "off", "old", "odd"]);
    assert!(all.backends[2].off.is_some() && all.backends[4].off.is_some());
    assert!(all.backends[3].off.is_none() && matches!(all.backends[3].kind, Kind::Http { is_sse: true, .. }));
    let notes = notes(&all);
    for told in [
        "2:3: no servers, not carried over: $schema",
        "inputs: nobody is asked here",
        "4:5: My Server: is called My-Server here",
        "timeout: not carried over; write timeout_secs",
        "My Server.odd: not carried over; this gateway has no such key",
        "5:5: My-Server: is called My-Server-2 here (the name is taken already)",
        "`cmd /c` is for Windows",
        "what followed it went into args",
    ] {
        assert!(notes.contains(told), "{told} is not in {notes}");
    }
}

#[test]
fn other_clients_lists_are_found() {
    for text in [
        r#"{"servers": {"a": {"type": "stdio", "command": "x"}}}"#,
        r#"{"mcp": {"servers": {"a": {"command": "x"}}}}"#,
        r#"{"a": {"command": "x"}}"#,
    ] {
        assert_eq!(good(text).backends.len(), 1, "{text}");
    }
    let all = good(r#"{"mcpServers": {}, "projects": {"/p": {"mcpServers": {"x": {"command": "y"}}}}}"#);
    assert!(notes(&all).contains("1 servers of single projects"));
}

#[test]
fn every_wrong_value_is_named_with_its_place() {
    let mistakes = imported(
        "{\"mcpServers\": {\n  \"a\": 5,\n  \"b\": {\"command\": 1},\n  \"c\": {},\n  \"d\": {\"command\": \"x\", \"url\": \"http://h\"},\n  \"e\": {\"command\": \"x\", \"args\": [[]], \"env\": []}\n}}",
    )
    .unwrap_err();
    let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 6], "{mistakes:?}");
    assert!(imported("{\"a\": 1}").unwrap_err()[0].message.contains("no list of servers"));
    assert!(imported("[]").unwrap_err()[0].message.contains("an object is wanted"));
    assert_eq!(imported("{\"mcpServers\": []}").unwrap_err().len(), 1);
}
