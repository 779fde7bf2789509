//! The checked-in code is what the `.proto` files say, and the contract only ever grows.
//!
//! `SENTINEL_REGENERATE=1 cargo test -p sentinel-proto` writes both files anew.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message;
use tonic_prost_build::FileDescriptorSet;

const PROTOS: [&str; 3] = ["sentinel/v1/config.proto", "sentinel/v1/audit.proto", "sentinel/v1/admin.proto"];
const GENERATED: &str = "src/gen/sentinel.v1.rs";
const DESCRIPTOR: &str = "src/gen/contract.binpb";

fn descriptors() -> FileDescriptorSet {
    let bytes = protox::compile(PROTOS, ["."]).expect("the .proto files compile").encode_to_vec();
    FileDescriptorSet::decode(bytes.as_slice()).expect("one descriptor format")
}

fn regenerate() -> bool {
    std::env::var_os("SENTINEL_REGENERATE").is_some()
}

#[test]
fn the_checked_in_code_is_what_the_contract_says() {
    let out = tempfile::tempdir().expect("a temporary directory");
    tonic_prost_build::configure().out_dir(out.path()).compile_fds(descriptors()).expect("the contract generates");
    let fresh = fs::read_to_string(out.path().join("sentinel.v1.rs")).expect("one generated file");
    let kept = Path::new(GENERATED);
    if regenerate() {
        fs::write(kept, &fresh).expect("the generated file is written");
    }
    let held = fs::read_to_string(kept).unwrap_or_default();
    assert!(held == fresh, "proto/{GENERATED} is stale: SENTINEL_REGENERATE=1 cargo test -p sentinel-proto");
}

/// Every field of every message as (number, type, label); every method with its types.
fn shape(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut shape = BTreeMap::new();
    for file in &set.file {
        for message in &file.message_type {
            for field in &message.field {
                let key = format!("{}.{} #{}", message.name(), field.name(), field.number());
                shape.insert(key, format!("{:?} {} {:?}", field.r#type(), field.type_name(), field.label()));
            }
        }
        for kind in &file.enum_type {
            for value in &kind.value {
                shape.insert(format!("{}.{}", kind.name(), value.name()), value.number().to_string());
            }
        }
        for service in &file.service {
            for method in &service.method {
                let key = format!("{}/{}", service.name(), method.name());
                shape.insert(key, format!("{} -> {}", method.input_type(), method.output_type()));
            }
        }
    }
    shape
}

#[test]
fn the_contract_keeps_what_the_last_release_had() {
    let now = descriptors();
    let kept = Path::new(DESCRIPTOR);
    if regenerate() && !kept.exists() {
        fs::write(kept, now.encode_to_vec()).expect("the descriptor is written");
    }
    let last = FileDescriptorSet::decode(fs::read(kept).expect("the last release's descriptor").as_slice())
        .expect("it decodes");
    let now = shape(&now);
    let gone: Vec<_> = shape(&last).into_iter().filter(|(key, kind)| now.get(key) != Some(kind)).collect();
    assert!(gone.is_empty(), "removed or changed since the last release: {gone:#?}");
}
