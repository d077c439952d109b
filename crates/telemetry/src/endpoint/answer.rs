//! An answer: status, kind of content, bytes.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::{Response, StatusCode};

/// What is sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// The name that a browser saves it by.
    pub(crate) file: Option<&'static str>,
}

impl Answer {
    /// A good answer.
    pub(crate) fn ok(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: StatusCode::OK, content_type, body: body.into(), file: None }
    }

    /// Text, with this status.
    pub(crate) fn text(status: StatusCode, text: &str) -> Self {
        Self { status, ..Self::ok(TEXT, format!("{}\n", text.trim_end())) }
    }

    /// A profile that is saved by this name.
    pub(crate) fn profile(bytes: Vec<u8>, file: &'static str) -> Self {
        Self { file: Some(file), ..Self::ok("application/octet-stream", bytes) }
    }

    /// For hyper; without the body where only its head was asked for.
    pub(crate) fn into_response(self, head_only: bool) -> Response<Full<Bytes>> {
        let length = self.body.len();
        let body = if head_only { Bytes::new() } else { self.body.into() };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if head_only {
            headers.insert("content-length", length.into());
        }
        if let Some(file) = self.file
            && let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{file}\""))
        {
            headers.insert(CONTENT_DISPOSITION, value);
        }
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            }
            _ => {}
        }
        response
    }
}

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
