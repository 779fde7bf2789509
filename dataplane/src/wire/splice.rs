//! Values within a message, replaced where they stand: every other byte as it came.

use bytes::Bytes;
use serde_json::value::RawValue;

/// The message with each of these values, borrowed from it, become the JSON beside it. One that is no part of it stays.
pub fn replaced(message: &Bytes, edits: &[(&RawValue, &str)]) -> Bytes {
    let mut places: Vec<(usize, usize, &str)> = edits
        .iter()
        .map(|(value, json)| {
            // Borrowed from the message: its place is the distance between the two.
            let at = (value.get().as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
            (at, at.wrapping_add(value.get().len()), *json)
        })
        .collect();
    places.sort_unstable();
    let mut out = Vec::with_capacity(message.len() + places.iter().map(|(.., json)| json.len()).sum::<usize>());
    let mut from = 0;
    for (start, end, json) in places {
        let Some(before) = message.get(from..start).filter(|_| end <= message.len()) else { continue };
        out.extend_from_slice(before);
        out.extend_from_slice(json.as_bytes());
        from = end;
    }
    out.extend_from_slice(message.get(from..).unwrap_or_default());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_is_replaced_where_it_stands_and_nothing_else() {
        let message = Bytes::from_static(br#"[ "a" ,{"x":1e3}, "b"]"#);
        let values: Vec<&RawValue> = serde_json::from_slice(&message).unwrap();
        let elsewhere = RawValue::from_string("1".into()).unwrap();
        let edits = [(values[2], "\"longer\""), (values[0], "0"), (&*elsewhere, "2")];
        assert_eq!(replaced(&message, &edits), r#"[ 0 ,{"x":1e3}, "longer"]"#);
        assert_eq!(replaced(&message, &[]), message);
    }
}
