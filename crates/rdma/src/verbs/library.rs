//! libibverbs and librdmacm, loaded when they are first needed, so that one program starts with and without them.
//!
//! Every function that we call is looked up by name; nothing of ours refers to the libraries' symbols, so the linker leaves
//! them out of the program. A table was preferred to trampolines of the same names, which would take the place of the real
//! functions for any other library of the process.
#![allow(unsafe_code, reason = "loads C libraries and gives their functions types")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem;
use std::ptr::NonNull;
use std::sync::OnceLock;

use libc::sockaddr;
use rdma_sys::{
    _compat_ibv_port_attr, ibv_async_event, ibv_comp_channel, ibv_context, ibv_cq, ibv_device,
    ibv_device_attr, ibv_event_type, ibv_mr, ibv_pd, ibv_qp, ibv_qp_attr, ibv_qp_init_attr, ibv_srq,
    ibv_srq_init_attr, rdma_cm_event, rdma_cm_id, rdma_conn_param, rdma_event_channel, rdma_port_space,
};

use crate::error::DevicesError;

/// A library that was loaded, for the process's life.
struct Object {
    name: &'static str,
    handle: NonNull<c_void>,
}

impl Object {
    fn load(name: &'static str, file: &CStr) -> Result<Self, DevicesError> {
        // SAFETY: the name is a terminated string. The libraries' constructors do no more than set up their own state.
        let handle = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let handle = NonNull::new(handle);
        handle.map(|handle| Self { name, handle }).ok_or_else(|| missing(name))
    }

    fn symbol(&self, symbol: &CStr) -> Result<NonNull<c_void>, DevicesError> {
        // SAFETY: the handle is dlopen's and is never closed; the name is a terminated string.
        let address = unsafe { libc::dlsym(self.handle.as_ptr(), symbol.as_ptr()) };
        NonNull::new(address).ok_or_else(|| missing(self.name))
    }
}

/// The loader's words for what it last refused.
fn missing(library: &'static str) -> DevicesError {
    // SAFETY: takes nothing; answers with a string of this thread, or null.
    let words = unsafe { libc::dlerror() };
    let reason = if words.is_null() {
        "no reason given".to_owned()
    } else {
        // SAFETY: dlerror's string is terminated, and stays until this thread's next call of the loader.
        unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
    };
    DevicesError::Library { library, reason }
}

/// Makes a table of functions and what loads it; the compiler compares each type with that of the bindings.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident { $(fn $name:ident($($type:ty),*) $(-> $answer:ty)?;)* }) => {
        $(#[$doc])*
        pub(super) struct $table {
            $(pub(super) $name: unsafe extern "C" fn($($type),*) $(-> $answer)?,)*
        }

        $(const _: unsafe extern "C" fn($($type),*) $(-> $answer)? = rdma_sys::$name;)*

        impl $table {
            fn of(object: &Object) -> Result<Self, DevicesError> {
                Ok(Self {
                    $($name: {
                        const NAME: &str = concat!(stringify!($name), "\0");
                        let name = CStr::from_bytes_with_nul(NAME.as_bytes()).unwrap_or_default();
                        let address = object.symbol(name)?.as_ptr();
                        // SAFETY: the library's function of that name has the type that its header declares, which the
                        // bindings were made from and the constant above compares with.
                        unsafe { mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) $(-> $answer)?>(address) }
                    },)*
                })
            }
        }
    };
}

functions! {
    /// Functions of libibverbs.
    Verbs {
        fn ibv_get_device_name(*mut ibv_device) -> *const c_char;
        fn ibv_get_device_guid(*mut ibv_device) -> u64;
        fn ibv_query_device(*mut ibv_context, *mut ibv_device_attr) -> c_int;
        fn ibv_query_port(*mut ibv_context, u8, *mut _compat_ibv_port_attr) -> c_int;
        fn ibv_get_async_event(*mut ibv_context, *mut ibv_async_event) -> c_int;
        fn ibv_ack_async_event(*mut ibv_async_event);
        fn ibv_alloc_pd(*mut ibv_context) -> *mut ibv_pd;
        fn ibv_dealloc_pd(*mut ibv_pd) -> c_int;
        fn ibv_reg_mr(*mut ibv_pd, *mut c_void, usize, c_int) -> *mut ibv_mr;
        fn ibv_dereg_mr(*mut ibv_mr) -> c_int;
        fn ibv_create_comp_channel(*mut ibv_context) -> *mut ibv_comp_channel;
        fn ibv_destroy_comp_channel(*mut ibv_comp_channel) -> c_int;
        fn ibv_create_cq(*mut ibv_context, c_int, *mut c_void, *mut ibv_comp_channel, c_int) -> *mut ibv_cq;
        fn ibv_destroy_cq(*mut ibv_cq) -> c_int;
        fn ibv_get_cq_event(*mut ibv_comp_channel, *mut *mut ibv_cq, *mut *mut c_void) -> c_int;
        fn ibv_ack_cq_events(*mut ibv_cq, c_uint);
        fn ibv_create_srq(*mut ibv_pd, *mut ibv_srq_init_attr) -> *mut ibv_srq;
        fn ibv_destroy_srq(*mut ibv_srq) -> c_int;
        fn ibv_modify_qp(*mut ibv_qp, *mut ibv_qp_attr, c_int) -> c_int;
        fn ibv_destroy_qp(*mut ibv_qp) -> c_int;
    }
}

functions! {
    /// Functions of librdmacm.
    Manager {
        fn rdma_get_devices(*mut c_int) -> *mut *mut ibv_context;
        fn rdma_free_devices(*mut *mut ibv_context);
        fn rdma_create_event_channel() -> *mut rdma_event_channel;
        fn rdma_destroy_event_channel(*mut rdma_event_channel);
        fn rdma_get_cm_event(*mut rdma_event_channel, *mut *mut rdma_cm_event) -> c_int;
        fn rdma_ack_cm_event(*mut rdma_cm_event) -> c_int;
        fn rdma_create_id(*mut rdma_event_channel, *mut *mut rdma_cm_id, *mut c_void, rdma_port_space::Type) -> c_int;
        fn rdma_destroy_id(*mut rdma_cm_id) -> c_int;
        fn rdma_migrate_id(*mut rdma_cm_id, *mut rdma_event_channel) -> c_int;
        fn rdma_set_option(*mut rdma_cm_id, c_int, c_int, *mut c_void, usize) -> c_int;
        fn rdma_bind_addr(*mut rdma_cm_id, *mut sockaddr) -> c_int;
        fn rdma_listen(*mut rdma_cm_id, c_int) -> c_int;
        fn rdma_resolve_addr(*mut rdma_cm_id, *mut sockaddr, *mut sockaddr, c_int) -> c_int;
        fn rdma_resolve_route(*mut rdma_cm_id, c_int) -> c_int;
        fn rdma_create_qp(*mut rdma_cm_id, *mut ibv_pd, *mut ibv_qp_init_attr) -> c_int;
        fn rdma_connect(*mut rdma_cm_id, *mut rdma_conn_param) -> c_int;
        fn rdma_accept(*mut rdma_cm_id, *mut rdma_conn_param) -> c_int;
        fn rdma_reject(*mut rdma_cm_id, *const c_void, u8) -> c_int;
        fn rdma_notify(*mut rdma_cm_id, ibv_event_type) -> c_int;
        fn rdma_disconnect(*mut rdma_cm_id) -> c_int;
    }
}

/// `ibv_reg_dmabuf_mr`, which is younger than the rest (rdma-core 34).
pub(super) type RegisterDmaBuf =
    unsafe extern "C" fn(*mut ibv_pd, u64, usize, u64, c_int, c_int) -> *mut ibv_mr;

const _: RegisterDmaBuf = rdma_sys::ibv_reg_dmabuf_mr;

/// Both libraries.
pub(super) struct Libraries {
    pub(super) verbs: Verbs,
    pub(super) manager: Manager,
    pub(super) register_dma_buf: Option<RegisterDmaBuf>,
}

impl Libraries {
    /// The libraries, loaded by the first who asks. What is missing is looked for again when it is asked for again.
    pub(super) fn get() -> Result<&'static Self, DevicesError> {
        static LIBRARIES: OnceLock<Libraries> = OnceLock::new();
        if let Some(libraries) = LIBRARIES.get() {
            return Ok(libraries);
        }
        let verbs = Object::load("libibverbs", c"libibverbs.so.1")?;
        let manager = Object::load("librdmacm", c"librdmacm.so.1")?;
        let loaded = Self {
            verbs: Verbs::of(&verbs)?,
            manager: Manager::of(&manager)?,
            register_dma_buf: verbs.symbol(c"ibv_reg_dmabuf_mr").ok().map(|address| {
                // SAFETY: as for the functions of the tables.
                unsafe { mem::transmute::<*mut c_void, RegisterDmaBuf>(address.as_ptr()) }
            }),
        };
        Ok(LIBRARIES.get_or_init(|| loaded))
    }
}
