//! Lets so many requests of one client pass in each window of time, and answers the others
//! with 429. Clients are told apart by a header. All that share its `vm_id` count together.
//!
//! { "limit": 100, "window_seconds": 60, "header": "x-api-key" }

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType, Status};
use serde::Deserialize;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { config: None }));
}}

#[derive(Deserialize)]
struct Config {
    limit: u64,
    window_seconds: u64,
    header: String,
}

/// What the streams of a plugin context share.
struct Shared {
    config: Config,
    limited: u32,
}

struct Root {
    config: Option<Rc<Shared>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        match serde_json::from_slice::<Config>(&bytes) {
            Ok(config) if config.limit > 0 && config.window_seconds > 0 => {
                let limited = hostcalls::define_metric(MetricType::Counter, "rate_limited").unwrap();
                self.config = Some(Rc::new(Shared { config, limited }));
                true
            }
            Ok(_) => refuse("limit and window_seconds must be above 0"),
            Err(error) => refuse(&error.to_string()),
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        let shared = self.config.clone()?;
        Some(Box::new(Stream { shared, remaining: None }))
    }
}

fn refuse(why: &str) -> bool {
    proxy_wasm::hostcalls::log(LogLevel::Error, why).unwrap();
    false
}

struct Stream {
    shared: Rc<Shared>,
    remaining: Option<u64>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let Config { limit, window_seconds, header } = &self.shared.config;
        let Some(client) = self.get_http_request_header(header) else {
            return Action::Continue;
        };
        let now = since_epoch(self.get_current_time()).as_secs();
        let window = now / window_seconds;
        let count = self.count(&format!("rate/{client}"), window);
        if count <= *limit {
            self.remaining = Some(limit - count);
            return Action::Continue;
        }
        hostcalls::increment_metric(self.shared.limited, 1).unwrap();
        let wait = ((window + 1) * window_seconds - now).to_string();
        self.send_http_response(429, vec![("retry-after", &wait)], Some(b"too many requests"));
        Action::Pause
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        if let Some(remaining) = self.remaining {
            self.set_http_response_header("x-ratelimit-remaining", Some(&remaining.to_string()));
        }
        Action::Continue
    }
}

impl Stream {
    /// Counts a request, and answers how many there are in the window. What is kept of a client is
    /// the window and the count, 8 bytes each; of an earlier window nothing counts.
    fn count(&self, key: &str, window: u64) -> u64 {
        loop {
            let (value, cas) = self.get_shared_data(key);
            let before = value.as_deref().and_then(read).filter(|(of, _)| *of == window);
            let count = before.map_or(0, |(_, count)| count) + 1;
            let bytes = [window.to_le_bytes(), count.to_le_bytes()].concat();
            match self.set_shared_data(key, Some(&bytes), cas) {
                // Another instance was faster: once more.
                Err(Status::CasMismatch) => continue,
                _ => return count,
            }
        }
    }
}

fn read(bytes: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some((number(0)?, number(8)?))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
