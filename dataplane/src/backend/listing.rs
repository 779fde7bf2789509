//! A backend's `tools/list`: pages joined, each tool kept as the bytes it came in.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Pages of one listing; a backend that gives more is cut off, with a reason.
pub const MAX_PAGES: usize = 100;
/// Tools of one backend.
pub const MAX_TOOLS: usize = 10_000;

/// One tool as the backend offers it, unjudged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedTool {
    pub name: Box<str>,
    /// The tool's whole JSON object.
    pub definition: Bytes,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(rename = "nextCursor", default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Joins the pages of one listing.
#[derive(Debug, Default)]
pub struct Listing {
    tools: Vec<OfferedTool>,
    pages: usize,
    last_cursor: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ListingFault {
    #[error("its tools/list is not what the schema says: {0}")]
    Broken(#[from] serde_json::Error),
    #[error("its tools/list gives the same cursor twice")]
    Loop,
    #[error("its tools/list has more than {MAX_PAGES} pages or {MAX_TOOLS} tools")]
    TooMany,
}

impl Listing {
    /// Takes the `result` of one page; the params of the next request, or none when this was the last.
    pub fn page(&mut self, result: &[u8]) -> Result<Option<String>, ListingFault> {
        let page: Page<'_> = serde_json::from_slice(result)?;
        self.pages += 1;
        for tool in page.tools {
            let Named { name } = serde_json::from_str(tool.get())?;
            self.tools.push(OfferedTool {
                name: name.into_boxed_str(),
                definition: Bytes::copy_from_slice(tool.get().as_bytes()),
            });
        }
        if self.tools.len() > MAX_TOOLS || (page.next_cursor.is_some() && self.pages == MAX_PAGES) {
            return Err(ListingFault::TooMany);
        }
        let Some(cursor) = page.next_cursor else { return Ok(None) };
        if self.last_cursor.as_ref() == Some(&cursor) {
            return Err(ListingFault::Loop);
        }
        let params = serde_json::json!({ "cursor": cursor }).to_string();
        self.last_cursor = Some(cursor);
        Ok(Some(params))
    }

    pub fn into_tools(self) -> Vec<OfferedTool> {
        self.tools
    }
}
