//! The sections that are lists of plain settings: gateway, catalog, schema, pinning, health,
//! circuit_breaker, audit.

use std::net::SocketAddr;

use sentinel_proto::v1;
use toml::de::DeValue;

use super::super::names::{printable, tool_part};
use super::super::problems::Notes;
use super::super::reader::{Placed, Section};
use super::super::values::{bytes, http_url, number, text, word};
use super::values as plain;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// With the URL that clients reach it by.
pub(super) fn gateway(mut section: Section<'_>, notes: &mut Notes<'_>) -> (v1::Gateway, Option<Placed<String>>) {
    let hosts = || ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
    let gateway = v1::Gateway {
        listen: section.or(notes, "listen", "127.0.0.1:9200".to_owned(), listen),
        allowed_origins: section.list(notes, "allowed_origins", origin).map(plain).unwrap_or_default(),
        allowed_hosts: section.list(notes, "allowed_hosts", host).map_or_else(hosts, plain),
        max_request_bytes: section.or(notes, "max_request_bytes", 4 * MIB, bytes(KIB..=64 * MIB)),
        max_in_flight: section.or(notes, "max_in_flight", 1024, number(1..=65_536)),
        drain_secs: section.or(notes, "drain_secs", 20, number(0..=3600)),
        keepalive_secs: section.or(notes, "keepalive_secs", 15, number(1..=300)),
        max_staleness_secs: section.or(notes, "max_staleness_secs", 0, number(0..=604_800)),
        parked_secs: section.or(notes, "parked_secs", 600, number(1..=600)),
        max_parked: section.or(notes, "max_parked", 1024, number(1..=65_536)),
        max_parked_per_client: section.or(notes, "max_parked_per_client", 64, number(1..=65_536)),
    };
    let public_url = section.placed(notes, "public_url", base_url);
    section.finish(notes);
    (gateway, public_url)
}

/// What stands before the path of an endpoint.
fn base_url(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    let base = written.strip_suffix('/').unwrap_or(&written);
    if http_url(base) && base.matches('/').count() == 2 && !base.contains(['?', '#']) {
        return Ok(base.to_owned());
    }
    Err(format!(
        "{written:?} is not what clients reach this gateway by; write scheme and host alone, https unless it is this machine, as in \"https://mcp.example.com\""
    ))
}

fn listen(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    match written.parse::<SocketAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("{written:?} is no address; write an IP address and a port, as in \"127.0.0.1:9200\"")),
    }
}

fn origin(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    let rest = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && printable(rest) && !rest.contains(['/', '?', '#', '@', '*', ' ']) => {
            Ok(written)
        }
        _ => Err(format!(
            "{written:?} is no origin; write scheme, host and port alone, as in \"https://app.example.com\" (there is no `*`)"
        )),
    }
}

fn host(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    let bracketed = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !written.is_empty() && written.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    if good {
        return Ok(written);
    }
    Err(format!(
        "{written:?} is no host; write the name alone, without scheme and port, as in \"mcp.example.com\" or \"[::1]\""
    ))
}

pub(super) fn catalog(mut section: Section<'_>, notes: &mut Notes<'_>) -> v1::Catalog {
    let catalog = v1::Catalog {
        separator: section.or(notes, "separator", "__".to_owned(), separator),
        keep_listed_secs: section.or(notes, "keep_listed_secs", 600, number(0..=86_400)),
    };
    section.finish(notes);
    catalog
}

fn separator(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if (1..=8).contains(&written.len()) && tool_part(&written) {
        return Ok(written);
    }
    Err("a separator is 1 to 8 of the characters A-Z a-z 0-9 _ - . /; \"__\" is a good one".to_owned())
}

pub(super) fn schema(mut section: Section<'_>, notes: &mut Notes<'_>) -> v1::ArgumentMode {
    let modes = word(
        &[("enforce", v1::ArgumentMode::Enforce), ("warn", v1::ArgumentMode::Warn), ("off", v1::ArgumentMode::Off)],
        &[("coerce", "later")],
    );
    let mode = section.or(notes, "arguments", v1::ArgumentMode::Enforce, modes);
    section.or(notes, "report_as", (), word(&[("error", ())], &[("tool_result", "later")]));
    section.finish(notes);
    mode
}

/// What becomes of a tool's definition at first sight, and when it changes.
pub(super) fn pinning(mut section: Section<'_>, notes: &mut Notes<'_>) -> v1::Pinning {
    let pinning = v1::Pinning {
        hold_first: section.or(notes, "first_use", false, word(&[("trust", false), ("hold", true)], &[])),
        warn_changed: section.or(notes, "on_change", false, word(&[("hold", false), ("warn", true)], &[])),
    };
    section.finish(notes);
    pinning
}

pub(super) fn health(mut section: Section<'_>, notes: &mut Notes<'_>) -> v1::Health {
    let health = v1::Health {
        interval_secs: section.or(notes, "interval_secs", 10, number(1..=3600)),
        timeout_secs: section.or(notes, "timeout_secs", 3, number(1..=300)),
        unhealthy_after: section.or(notes, "unhealthy_after", 3, number(1..=100)),
    };
    section.finish(notes);
    health
}

pub(super) fn circuit_breaker(mut section: Section<'_>, notes: &mut Notes<'_>) -> v1::CircuitBreaker {
    let breaker = v1::CircuitBreaker {
        failures: section.or(notes, "failures", 5, number(1..=1000)),
        open_secs: section.or(notes, "open_secs", 30, number(1..=3600)),
        half_open_calls: section.or(notes, "half_open_calls", 1, number(1..=100)),
    };
    section.finish(notes);
    breaker
}

/// What planes record, and how many days the store keeps it.
pub(super) fn audit(mut section: Section<'_>, notes: &mut Notes<'_>) -> (v1::AuditPolicy, u32) {
    section.or(notes, "durability", (), word(&[("buffered", ())], &[("required", "later"), ("best_effort", "later")]));
    section.or(notes, "when_full", (), word(&[("deny", ())], &[("drop", "later")]));
    let records = word(
        &[
            ("full", v1::ArgumentRecord::Full),
            ("redacted", v1::ArgumentRecord::Redacted),
            ("hash", v1::ArgumentRecord::Hash),
            ("none", v1::ArgumentRecord::None),
        ],
        &[],
    );
    let record = section.or(notes, "arguments", v1::ArgumentRecord::Redacted, records);
    let usual = || ["password", "token", "secret", "authorization", "api_key"].map(str::to_owned).to_vec();
    let redact_keys = section.list(notes, "redact_keys", redact_key).map_or_else(usual, plain);
    let retention_days = section.or(notes, "retention_days", 30, number(1..=3650));
    section.finish(notes);
    (v1::AuditPolicy { arguments: record.into(), redact_keys }, retention_days)
}

fn redact_key(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if written.is_empty() || written.chars().count() > 128 || !printable(&written) {
        return Err(
            "a key to redact is 1 to 128 printable characters; it is compared whole, ignoring case, - and _".to_owned()
        );
    }
    Ok(written)
}
