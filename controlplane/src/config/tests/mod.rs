//! Tests of the configuration as a whole: what a file becomes, and what is said about a bad one.

use super::{BuiltInKey, Loaded, load};

const KEY: BuiltInKey = BuiltInKey { public: [7; 32] };

fn good(text: &str) -> Loaded {
    load("sentinel.toml", text, &KEY).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_file_with_auth_one_role_and_one_backend_is_complete() {
    let loaded =
        good("[auth]\n[roles.operator]\nallow = ['*']\n[[backends]]\nname = 'a'\ncommand = 'b'\n");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.snapshot.backends.len(), 1);
}

#[test]
fn no_key_stands_twice_in_its_table() {
    for table in super::keys::ALL {
        let names: std::collections::BTreeSet<&str> =
            table.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), table.keys.len(), "[{}]", table.path);
    }
}
