//! What must not compile: a backend's lease without all proofs, a proof from outside its stage. The compiler itself is
//! asked, with the data plane as it was built beside these tests; each try names the error that it must end in, and one
//! honest program shows that it is not the set-up that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The newest build of the data plane's library, and the folder of all that it needs.
fn built() -> (PathBuf, PathBuf) {
    let here = std::env::current_exe().unwrap();
    let deps = here.parent().unwrap().to_owned();
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&deps).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("libsentinel_dataplane-") && name.ends_with(".rlib") {
            found.push((entry.metadata().unwrap().modified().unwrap(), entry.path()));
        }
    }
    found.sort();
    let (_, newest) = found.pop().expect("the data plane's library is not built beside the tests");
    (newest, deps)
}

/// What the compiler says to a program with this body of `main`; empty: it takes it.
fn compiled(body: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("tried.rs");
    let text = format!(
        "#![allow(unused)]\nextern crate sentinel_dataplane;\nfn any<T>() -> T {{ loop {{}} }}\nfn main() {{ {body} }}\n"
    );
    std::fs::write(&source, text).unwrap();
    let (library, deps) = built();
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(compiler)
        .args(["--edition", "2024", "--emit", "metadata", "--crate-type", "bin", "--error-format", "short"])
        .arg("--extern")
        .arg(format!("sentinel_dataplane={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("-o")
        .arg(folder.path().join("tried"))
        .arg(&source)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), said.matches("error").count() == 0, "{said}");
    if output.status.success() { String::new() } else { said }
}

fn must_not_compile(what: &str, body: &str, code: &str) {
    let said = compiled(body);
    assert!(!said.is_empty(), "{what}: it compiles");
    assert!(said.contains(&format!("[{code}]")), "{what}: it fails for another reason than {code}:\n{said}");
    let others = said.matches("error[").count() - said.matches(&format!("error[{code}]")).count();
    assert_eq!(others, 0, "{what}: it fails for more reasons than {code}:\n{said}");
}

#[test]
fn an_honest_program_compiles() {
    let said = compiled(
        "let ruled: sentinel_dataplane::stages::rules::Ruled = any(); \
         let flight: sentinel_dataplane::in_flight::Flight = any(); \
         let plane: sentinel_dataplane::plane::Plane = any(); \
         let lease = sentinel_dataplane::backend::lease::lease(&plane, &ruled, &flight);",
    );
    assert_eq!(said, "");
}

#[test]
fn no_backend_is_leased_without_the_last_proof() {
    for weaker in [
        "visible::Visible",
        "resolve::Resolved",
        "arguments::Valid",
        "limits::target::Admitted",
        "limits::client::Charged",
    ] {
        let body = format!(
            "let weaker: sentinel_dataplane::stages::{weaker} = any(); \
             let flight: sentinel_dataplane::in_flight::Flight = any(); \
             let plane: sentinel_dataplane::plane::Plane = any(); \
             let lease = sentinel_dataplane::backend::lease::lease(&plane, &weaker, &flight);"
        );
        must_not_compile(weaker, &body, "E0308");
    }
}

#[test]
fn no_lease_is_made_by_hand() {
    must_not_compile(
        "a lease by hand",
        "let ruled: sentinel_dataplane::stages::rules::Ruled = any(); \
         let flight: sentinel_dataplane::in_flight::Flight = any(); \
         let lease = sentinel_dataplane::backend::lease::Lease { plane: any(), call: &ruled, flight: &flight, way: any() };",
        "E0451",
    );
}

#[test]
fn no_proof_is_made_outside_its_stage() {
    must_not_compile(
        "Ruled",
        "let valid: sentinel_dataplane::stages::arguments::Valid = any(); let ruled = sentinel_dataplane::stages::rules::Ruled(valid);",
        "E0603",
    );
    must_not_compile(
        "Visible",
        "let visible = sentinel_dataplane::stages::visible::Visible { resolved: any(), target: any() };",
        "E0451",
    );
}

#[test]
fn no_proof_is_used_twice_or_copied() {
    must_not_compile(
        "twice",
        "let visible: sentinel_dataplane::stages::arguments::Valid = any(); \
         let once = sentinel_dataplane::stages::rules::permit(visible); \
         let again = sentinel_dataplane::stages::rules::permit(visible);",
        "E0382",
    );
    must_not_compile(
        "copied",
        "let ruled: sentinel_dataplane::stages::rules::Ruled = any(); let copy = ruled.clone();",
        "E0599",
    );
}

#[test]
fn no_last_word_goes_out_that_was_not_recorded() {
    must_not_compile(
        "a Final by hand",
        "let last = sentinel_dataplane::audit::record::Final { bytes: any(), is_answer: any(), is_modern: any(), refusal: any(), _recorded: any() };",
        "E0451",
    );
}
