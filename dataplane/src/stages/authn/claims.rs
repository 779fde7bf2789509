//! A token's claims, read so that nothing can be read twice differently: a duplicate name anywhere is refused.

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

const MOST_ROLES: usize = 64;
const LONGEST_ROLE: usize = 128;
const LONGEST_CLIENT: usize = 256;

pub(super) struct Claims(Map<String, Value>);

/// NumericDate of RFC 7519, whole seconds.
pub(super) struct Dates {
    pub(super) exp: i64,
    pub(super) nbf: Option<i64>,
    pub(super) iat: Option<i64>,
}

/// `None`: not one JSON object, or a name stands twice in one object.
pub(super) fn read(payload: &[u8]) -> Option<Claims> {
    match serde_json::from_slice::<Once>(payload).ok()?.0 {
        Value::Object(claims) => Some(Claims(claims)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

impl Claims {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// `None`: a date is there and no sane number, or `exp` is missing.
    pub(super) fn dates(&self) -> Option<Dates> {
        Some(Dates { exp: date(self.0.get("exp")?)?, nbf: self.optional("nbf")?, iat: self.optional("iat")? })
    }

    fn optional(&self, name: &str) -> Option<Option<i64>> {
        match self.0.get(name) {
            None => Some(None),
            Some(value) => date(value).map(Some),
        }
    }

    /// The client's name: 1–256 characters, none of them a control character.
    pub(super) fn client(&self, claim: &str) -> Option<&str> {
        let name = self.at(claim)?.as_str()?;
        let fits = !name.is_empty() && name.chars().count() <= LONGEST_CLIENT && !name.chars().any(char::is_control);
        fits.then_some(name)
    }

    /// A string or an array of strings; absent: none. `None`: of another shape, or too many or too long.
    pub(super) fn roles(&self, claim: &str) -> Option<Box<[Box<str>]>> {
        let roles: Vec<Box<str>> = match self.at(claim) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(role)) => vec![role.as_str().into()],
            Some(Value::Array(roles)) => {
                roles.iter().map(|role| role.as_str().map(Into::into)).collect::<Option<_>>()?
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => return None,
        };
        let fits = roles.len() <= MOST_ROLES && roles.iter().all(|role| role.len() <= LONGEST_ROLE);
        fits.then(|| roles.into())
    }

    /// `aud` of RFC 7519: a string, or several. `None`: absent, or of another shape.
    pub(super) fn audiences(&self) -> Option<Vec<&str>> {
        match self.0.get("aud")? {
            Value::String(one) => Some(vec![one]),
            Value::Array(several) => several.iter().map(Value::as_str).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        }
    }

    /// Whether `scope` (RFC 8693 4.2) or `scp` has it: words in a string, or a list.
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        ["scope", "scp"].iter().filter_map(|claim| self.0.get(*claim)).any(|claimed| match claimed {
            Value::String(words) => words.split(' ').any(|word| word == scope),
            Value::Array(words) => words.iter().any(|word| word == scope),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        })
    }

    /// A dotted path; a claim whose own name holds the dots goes before it.
    fn at(&self, claim: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(claim) {
            return Some(value);
        }
        let mut steps = claim.split('.');
        let first = self.0.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }
}

fn date(value: &Value) -> Option<i64> {
    match (value.as_i64(), value.as_f64()) {
        (Some(date), _) => (date >= 0).then_some(date),
        #[expect(clippy::cast_possible_truncation, reason = "checked: between 0 and 2^53")]
        (None, Some(date)) => (0.0..9_007_199_254_740_992.0).contains(&date).then_some(date as i64),
        (None, None) => None,
    }
}

/// A `Value` whose objects have no name twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Once;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON without duplicate names")
            }
            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Once, A::Error> {
                let mut items = Vec::new();
                while let Some(Once(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Once(Value::Array(items)))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                let mut members = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    let Once(value) = map.next_value()?;
                    if members.insert(key, value).is_some() {
                        return Err(de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Once(Value::Object(members)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
