//! An independent checker for the tests: slow, and written on `serde_json` alone.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Whether it is JSON at all. A `RawValue` keeps what a `Value` cannot hold (lone surrogates, 1e999).
pub(super) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

/// Whether no object in it has a key twice; the text is known to be JSON.
pub(super) fn single(text: &str) -> bool {
    let text = text.trim();
    match text.as_bytes().first() {
        Some(b'{') => {
            let Ok(members) = serde_json::from_str::<Members<'_>>(text) else {
                return false;
            };
            let mut seen = HashSet::new();
            members.0.iter().all(|(key, value)| seen.insert(said(key.get())) && single(value.get()))
        }
        Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text).is_ok_and(|all| all.iter().all(|v| single(v.get()))),
        _ => true,
    }
}

/// The key's token decoded into UTF-16, where a lone surrogate is a unit as any other.
pub(super) fn said(token: &str) -> Vec<u16> {
    let mut units = Vec::new();
    let mut chars = token.strip_prefix('"').unwrap().strip_suffix('"').unwrap().chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        match chars.next().unwrap() {
            'u' => {
                let digits: String = chars.by_ref().take(4).collect();
                units.push(u16::from_str_radix(&digits, 16).unwrap());
            }
            'n' => units.push(10),
            'r' => units.push(13),
            't' => units.push(9),
            'b' => units.push(8),
            'f' => units.push(12),
            other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
        }
    }
    units
}

struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = map.next_entry()? {
            all.push(member);
        }
        Ok(Members(all))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Ok(Members(Vec::new()))
    }
}
