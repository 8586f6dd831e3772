//! Adapters in llama.cpp's hands.
//!
//! llama.cpp keeps the adapters that are in effect in the context, and applies them to every token of a batch: a batch
//! is for one adapter, or for none. Of the two ways to serve several at once, this is the one that changes adapters
//! between batches. It costs half a millisecond a change (the graph is planned anew); a context for each adapter would
//! cost nothing a step, but every slot's memory once more, which is gigabytes with models that people use.
//!
//! llama-cpp-2 loads adapters only through `&mut LlamaModel`, which no context allows, and never frees one. So loading
//! and freeing go to the C functions here. Both change a list inside the C++ model that the context reads when it plans
//! a graph, and nothing else does; both are methods of [`Context`](super::Context), so that its one thread does them.
//!
//! llama.cpp reads adapters from files only. It is given a file in memory, by its path in `/proc`: nothing is written
//! to a disk, and it is gone as soon as it is read.
#![expect(unsafe_code, reason = "llama-cpp-2 has no way to load an adapter beside a context, nor to free one")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_sys_2 as sys;
use rustix::fs::MemfdFlags;

/// Why llama.cpp did not take an adapter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdapterLoadError {
    #[error("there is no memory for the adapter")]
    Memory(#[source] io::Error),
    #[error("llama.cpp refused the adapter: {0}")]
    Refused(String),
}

/// An adapter that llama.cpp holds. Freed when dropped; by then no context may have it in effect.
#[derive(Debug)]
pub(super) struct Adapter(ManuallyDrop<LlamaLoraAdapter>);

impl Adapter {
    /// Loads an adapter of this model from a GGUF file's content.
    ///
    /// # Safety
    ///
    /// The model outlives the adapter. Between the first call and the last drop, adapters of this model are loaded,
    /// dropped and put into effect, and its contexts used, by one thread at a time.
    pub(super) unsafe fn load(model: &LlamaModel, gguf: &[u8]) -> Result<Self, AdapterLoadError> {
        let file = in_memory(gguf).map_err(AdapterLoadError::Memory)?;
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("digits have no NUL");
        super::log::start_recording();
        // SAFETY: `LlamaModel` is a transparent wrapper of the non-null pointer to the C model, which lives as long as
        // the wrapper; reading it through the wrapper's address is what the wrapper itself does. The C function changes
        // the model's list of adapters, which only those touch who the caller keeps in order. The path is
        // NUL-terminated and names a file that is open until after the call.
        let raw = unsafe {
            let model = std::ptr::from_ref(model).cast::<*mut sys::llama_model>().read();
            sys::llama_adapter_lora_init(model, path.as_ptr())
        };
        let raw = std::ptr::NonNull::new(raw).ok_or_else(|| {
            AdapterLoadError::Refused(super::log::first_error().unwrap_or_else(|| "it does not say why".into()))
        })?;
        // SAFETY: `LlamaLoraAdapter` is a transparent wrapper of a non-null pointer to this type (the sizes are checked
        // at compile time). It has no `Drop`, so the pointer stays ours to free.
        let adapter =
            unsafe { std::mem::transmute::<std::ptr::NonNull<sys::llama_adapter_lora>, LlamaLoraAdapter>(raw) };
        Ok(Self(ManuallyDrop::new(adapter)))
    }

    /// Puts it into effect for every token that is computed from now on, in place of what was.
    pub(super) fn apply(&mut self, context: &mut LlamaContext<'_>) {
        // The C function cannot fail: it answers 0 whatever it is given.
        let _ = context.lora_adapter_set(&mut self.0, 1.0);
    }

    /// Takes it, and whatever else is in effect, out of effect.
    pub(super) fn remove(&mut self, context: &mut LlamaContext<'_>) {
        let _ = context.lora_adapter_remove(&mut self.0);
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // SAFETY: the wrapper is as transparent as in `load`, and holds the pointer that `load` put there, which nobody
        // else frees; the model is alive and no other thread changes its list, as the caller of `load` promised.
        unsafe {
            let raw = std::ptr::from_ref(&self.0).cast::<*mut sys::llama_adapter_lora>().read();
            sys::llama_adapter_lora_free(raw);
        }
    }
}

/// A file without a name, with this content.
fn in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("remora-adapter", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}
