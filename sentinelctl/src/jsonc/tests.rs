//! What is read, what is refused where, and that setting a member keeps every other byte.

use serde_json::json;

use super::*;

#[test]
fn comments_and_a_last_comma_are_taken_and_a_key_keeps_its_place() {
    let text = "\u{feff}{ // why\n  \"a\": [1, \"x\", ], /* b */ \"b\": {\"c\": null,},\n}";
    let root = parse(text).unwrap();
    assert_eq!(root.members().unwrap().len(), 2);
    let b = &root.members().unwrap()[1];
    assert_eq!(text.get(b.key_at..b.key_at + 3), Some("\"b\""));
}

#[test]
fn a_mistake_names_line_and_column() {
    let told = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(told("{\n  \"ü\": 1\n  \"b\": 2 }"), "3:3: a comma or } is wanted, not '\"'");
    assert_eq!(told("{\"a\": tru}"), "1:7: a value is wanted, not 't'");
    assert_eq!(told("{'a': 1}"), "1:2: a name in \"quotes\" is wanted, not a single quote; write \" instead");
    assert_eq!(told("{\"a\": \"x\n\"}"), "1:7: a text that never ends; close it with \"");
    assert!(told("").starts_with("1:1: a value is wanted, not the end"));
    assert!(told("{} x").contains("something follows"));
    assert!(told("{\"a\" \"b\"}").contains("a colon is wanted"));
    assert!(told("/* ").contains("never ends"));
    assert!(told("\"\\x\"").contains("invalid escape"));
}

#[test]
fn hostile_depth_is_refused() {
    let told = parse(&"[".repeat(100_000)).unwrap_err();
    assert!(told.message.contains("deeper than 100"), "{told}");
}

#[test]
fn a_member_is_added_and_the_rest_keeps_every_byte() {
    let text = "{\n    \"z\": 1.50, // kept\n    \"mcpServers\": {\n        \"a\": {}\n    }\n}\n";
    let (set_once, there) = set(text, &["mcpServers", "s"], &json!({ "url": "u" })).unwrap();
    assert!(!there);
    let wanted = "{\n    \"z\": 1.50, // kept\n    \"mcpServers\": {\n        \"a\": {},\n        \"s\": {\n            \"url\": \"u\"\n        }\n    }\n}\n";
    assert_eq!(set_once, wanted);
    let (again, there) = set(&set_once, &["mcpServers", "s"], &json!({ "url": "v" })).unwrap();
    assert!(there);
    assert_eq!(again, wanted.replace("\"u\"", "\"v\""));
}

#[test]
fn missing_objects_are_made_and_a_last_comma_is_no_obstacle() {
    let (made, _) = set("", &["mcp", "servers", "s"], &json!(1)).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&made).unwrap(), json!({"mcp":{"servers":{"s":1}}}));
    let (made, _) = set("{\"a\": 1,\n}", &["b"], &json!(2)).unwrap();
    assert_eq!(made, "{\"a\": 1,\n  \"b\": 2\n}");
}

#[test]
fn what_is_no_object_or_stands_twice_is_refused() {
    assert_eq!(set("[]", &["a"], &json!(1)).unwrap_err().to_string(), "1:1: an object is wanted here, not a list");
    let twice = set("{\"a\":{},\"a\":{}}", &["a", "b"], &json!(1)).unwrap_err();
    assert_eq!((twice.line, twice.col), (1, 9));
}
