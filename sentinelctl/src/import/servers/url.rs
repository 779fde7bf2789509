//! Secrets in a URL: user and password, the query, and words of the path that nobody types.

use super::fields::Reading;
use super::secrets;

impl Reading<'_> {
    /// Secrets in a URL: user and password, the query, and words of the path that nobody types.
    pub(super) fn url(
        &mut self,
        server: &str,
        key: &str,
        at: usize,
        url: &str,
        headers: &mut Vec<(String, String)>,
    ) -> String {
        let mut url = url.to_owned();
        if let Some((bare, fragment)) =
            url.split_once('#').map(|(bare, fragment)| (bare.to_owned(), fragment.to_owned()))
        {
            self.note(at, format!("{key}: #{fragment} is never sent, and was left out"));
            url = bare;
        }
        if secrets::has_userinfo(&url)
            && let Some((scheme, rest)) = url.clone().split_once("://")
            && let Some((user, rest)) = rest.split_once('@')
        {
            if user.contains("${") {
                self.mistake(
                    at,
                    format!("{key}: a variable as user or password in a URL can't be carried over; send a header"),
                );
                return url;
            }
            let basic = self.vault.take(server, "BASIC", &base64(&unescaped(user)));
            headers.push(("Authorization".to_owned(), format!("Basic ${{{basic}}}")));
            self.note(at, format!("{key}: user and password are sent as a header now, from the file of variables"));
            url = format!("{scheme}://{rest}");
        }
        let (address, query) =
            url.split_once('?').map_or((url.as_str(), None), |(address, query)| (address, Some(query)));
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let mut segments = rest.split('/');
        let mut out = match scheme {
            "" => segments.next().unwrap_or_default().to_owned(),
            _ => format!("{scheme}://{}", segments.next().unwrap_or_default()),
        };
        let segments: Vec<String> = segments.map(str::to_owned).collect();
        let query = query.map(str::to_owned);
        for segment in segments {
            let is_secret = secrets::looks_like_one(&segment);
            out.push('/');
            out.push_str(&self.value(server, key, at, "PATH_KEY", &segment, is_secret));
        }
        for (index, pair) in query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).enumerate()
        {
            out.push(if index == 0 { '?' } else { '&' });
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let is_secret =
                secrets::names_a_secret(name) || camel_names_a_secret(name) || secrets::looks_like_one(value);
            out.push_str(name);
            if pair.contains('=') {
                out.push('=');
                out.push_str(&self.value(server, key, at, name, value, is_secret));
            }
        }
        out
    }
}

/// `exaApiKey`, `apiKey`: a word within, in upper case.
fn camel_names_a_secret(name: &str) -> bool {
    ["Key", "Token", "Secret", "Password", "Auth"].iter().any(|end| name.ends_with(end))
}

pub(super) fn has_secret_query(text: &str) -> bool {
    let query = text.split_once('?').filter(|(address, _)| address.contains("://")).map(|(_, query)| query);
    let is_secret = |(name, value): (&str, &str)| {
        secrets::names_a_secret(name) || camel_names_a_secret(name) || secrets::looks_like_one(value)
    };
    query.is_some_and(|query| query.split('&').filter_map(|pair| pair.split_once('=')).any(is_secret))
}

/// `%40` as the byte it stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (ahead.next(), ahead.next());
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (byte, hex(digits.0), hex(digits.1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high.saturating_mul(16).saturating_add(low)).unwrap_or_default());
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    out
}

/// RFC 4648, with padding: for `Basic`.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
