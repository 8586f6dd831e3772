//! llama.cpp's own messages, sent to the log.
//!
//! They are the only place where llama.cpp says why it refused a file, so the errors of the last load are kept. Its
//! warnings and notices are chatter about healthy models and go to the debug level.
#![expect(unsafe_code, reason = "C callbacks")]

use std::ffi::{CStr, c_char, c_void};
use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;

/// The beginning of a line that has not ended yet, and what went wrong since [`start_recording`].
#[derive(Default)]
struct State {
    level: sys::ggml_log_level,
    line: String,
    errors: Option<Vec<String>>,
}

static STATE: Mutex<State> = Mutex::new(State { level: sys::GGML_LOG_LEVEL_NONE, line: String::new(), errors: None });

/// Sends llama.cpp's messages to the log from now on, and its last words to stderr when it aborts.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: both callbacks are functions that live as long as the process and neither uses its user data; they
        // are set once, before any other call into llama.cpp.
        unsafe {
            sys::llama_log_set(Some(on_message), std::ptr::null_mut());
            sys::ggml_set_abort_callback(Some(on_abort));
        }
    });
}

/// Begins to keep error messages.
pub(super) fn start_recording() {
    STATE.lock().unwrap_or_else(PoisonError::into_inner).errors = Some(Vec::new());
}

/// The first error since [`start_recording`]; later ones only say that the load failed.
pub(super) fn first_error() -> Option<String> {
    let errors = STATE.lock().unwrap_or_else(PoisonError::into_inner).errors.take();
    errors.and_then(|errors| errors.into_iter().next())
}

unsafe extern "C" fn on_message(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if level != sys::GGML_LOG_LEVEL_CONT {
        state.level = level;
        state.line.clear();
    }
    state.line.push_str(&text);
    if !state.line.ends_with('\n') {
        return;
    }
    let line = std::mem::take(&mut state.line);
    let (level, line) = (state.level, line.trim());
    if level == sys::GGML_LOG_LEVEL_ERROR
        && let Some(errors) = &mut state.errors
    {
        errors.push(without_function(line).to_owned());
    }
    drop(state);
    match level {
        _ if line.is_empty() => {}
        sys::GGML_LOG_LEVEL_ERROR => tracing::warn!(target: "llama.cpp", "{line}"),
        sys::GGML_LOG_LEVEL_WARN | sys::GGML_LOG_LEVEL_INFO => tracing::debug!(target: "llama.cpp", "{line}"),
        _ => tracing::trace!(target: "llama.cpp", "{line}"),
    }
}

/// Most messages begin with the C function's name, which tells a reader nothing.
fn without_function(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, rest)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => rest,
        _ => line,
    }
}

/// The process ends right after this. The log may be what was being written, so this goes past it.
unsafe extern "C" fn on_abort(message: *const c_char) {
    let text = if message.is_null() {
        String::new().into()
    } else {
        // SAFETY: ggml passes a NUL-terminated string that lives for the call.
        unsafe { CStr::from_ptr(message) }.to_string_lossy()
    };
    let _ = writeln!(std::io::stderr(), "error: llama.cpp gave up: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_left_out() {
        assert_eq!(without_function("gguf_init_from_file_impl: invalid magic"), "invalid magic");
        assert_eq!(without_function("error loading model: bad"), "error loading model: bad");
        assert_eq!(without_function("plain"), "plain");
    }

    #[test]
    fn lines_are_put_together() {
        start_recording();
        for (level, part) in [(sys::GGML_LOG_LEVEL_ERROR, c"load: no "), (sys::GGML_LOG_LEVEL_CONT, c"luck\n")] {
            // SAFETY: the texts are NUL-terminated and static.
            unsafe { on_message(level, part.as_ptr(), std::ptr::null_mut()) };
        }
        assert_eq!(first_error().as_deref(), Some("no luck"));
    }
}
