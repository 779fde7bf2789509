//! The `${…}` of clients (Claude Code, Cursor, VS Code) as the planes' `${NAME}` and `${NAME:-default}`.
//!
//! What only a client knows (the workspace's folder, the home) is filled in; what nobody knows stays literal.

use std::path::Path;

/// A value as a backend's `env`, `headers`, `args` and `url` take it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) text: String,
    /// Variables that it refers to, with what the client called them where that is another name.
    pub(super) refs: Vec<(String, String)>,
    /// The literal parts together, defaults included: what a secret may hide in.
    pub(super) literal: String,
    /// What could not be carried over as it was meant; one sentence each.
    pub(super) notes: Vec<String>,
}

/// Whether `name` can be that of an environment variable.
pub(super) fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `text` with every `${…}` as this gateway writes it. `folder`: of the client's file.
pub(super) fn carried(text: &str, folder: &Path, home: Option<&str>) -> Carried {
    let mut out = Carried::default();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push(before);
        let Some((inside, behind)) = after.split_once('}') else {
            out.push("${");
            out.notes.push("`${` without `}` is taken literally".to_owned());
            rest = after;
            continue;
        };
        out.reference(inside, folder, home);
        rest = behind;
    }
    out.push(rest);
    out
}

impl Carried {
    /// Literal text, with `${` written so that it stays one.
    fn push(&mut self, text: &str) {
        self.literal.push_str(text);
        self.text.push_str(&text.replace("${", "$${"));
    }

    fn reference(&mut self, inside: &str, folder: &Path, home: Option<&str>) {
        // `$` just before would make a literal of it.
        if self.text.ends_with('$') {
            self.notes.push("a `$` before `${…}` cannot be written here and was left out".to_owned());
            self.text.pop();
        }
        let project = folder.file_name().is_some_and(|name| name == ".vscode" || name == ".cursor");
        let workspace = if project { folder.parent().unwrap_or(folder) } else { folder };
        let known = match inside {
            "workspaceFolder" | "workspaceRoot" => Some(workspace.display().to_string()),
            "workspaceFolderBasename" => workspace.file_name().map(|name| name.to_string_lossy().into_owned()),
            "userHome" => home.map(str::to_owned),
            "pathSeparator" | "/" => Some("/".to_owned()),
            _ => None,
        };
        if let Some(value) = known {
            self.notes.push(format!("`${{{inside}}}` is {value} from now on"));
            self.push(&value);
            return;
        }
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        if is_variable(name) && !default.is_some_and(|default| default.contains("${")) {
            match default {
                Some(default) => {
                    self.literal.push_str(default);
                    self.text.push_str(&format!("${{{name}:-{default}}}"));
                }
                None => self.text.push_str(&format!("${{{name}}}")),
            }
            if default.is_none() {
                self.refs.push((name.to_owned(), "a variable of the client's file".to_owned()));
            }
            return;
        }
        if let Some(name) = inside.strip_prefix("env:").filter(|name| is_variable(name)) {
            self.text.push_str(&format!("${{{name}}}"));
            self.refs.push((name.to_owned(), "a variable of the client's file".to_owned()));
            return;
        }
        if let Some(id) = inside.strip_prefix("input:") {
            let name = super::secrets::variable_of(id);
            self.text.push_str(&format!("${{{name}}}"));
            self.refs.push((name, format!("the client asks for it as `{id}`")));
            return;
        }
        self.notes.push(format!("`${{{inside}}}` is nothing that this gateway knows, and is taken literally"));
        self.push(&format!("${{{inside}}}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Carried {
        carried(text, Path::new("/p/.vscode"), Some("/h"))
    }

    #[test]
    fn references_of_three_clients_become_ours() {
        assert_eq!(of("Bearer ${A}-${env:B}-${input:my key}").text, "Bearer ${A}-${B}-${MY_KEY}");
        let names: Vec<String> = of("${A}${env:B}").refs.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["A", "B"]);
        assert_eq!(of("${A:-x}").literal, "x");
    }

    #[test]
    fn what_the_client_knows_is_filled_in_and_the_rest_stays_literal() {
        assert_eq!(of("${workspaceFolder}/x ${userHome}").text, "/p/x /h");
        let odd = of("${command:pick} ${");
        assert_eq!(odd.text, "$${command:pick} $${");
        assert_eq!(odd.notes.len(), 2);
    }
}
