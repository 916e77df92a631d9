//! Queue pairs, and batches of work requests as C wants them: linked lists, posted with one call.
#![allow(
    unsafe_code,
    reason = "owns queue pairs, and gives the device the addresses of memory that the endpoint keeps"
)]

use std::ffi::c_int;
use std::io;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_sys::{
    bind_mw_t, bind_mw_tso_union_t, ibv_access_flags, ibv_mw_bind_info, ibv_qp, ibv_qp_attr,
    ibv_qp_attr_mask, ibv_qp_cap, ibv_qp_init_attr, ibv_qp_state, ibv_qp_type, ibv_recv_wr, ibv_send_flags,
    ibv_send_wr, ibv_sge, ibv_wc, ibv_wr_opcode, imm_data_invalidated_rkey_union_t, qp_type_t, rdma_t, wr_t,
    xrc_t,
};

use super::manager::Id;
use super::name::WorkName;
use super::objects::{CompletionQueue, Domain, RegistrationName, SharedReceives, Window, check};
use crate::work::{INLINE_BYTES_MAX, InlineData, RemoteMemory, Rights, SendOp};

/// Most work requests that are posted with one call.
pub(super) const BATCH_MAX: usize = 64;

/// How long a peer is to wait when it finds no receive posted, as the standard codes it: 0.64 ms. Without it the connection
/// manager's choice holds, 655 ms.
const RNR_TIMER: u8 = 12;

/// How large a queue pair is.
pub(super) struct Depths {
    pub(super) sends: u32,
    /// Receives of its own; 0 with a shared receive queue.
    pub(super) receives: u32,
    pub(super) segments: u32,
}

/// A queue pair with its identifier.
pub(super) struct QueuePair {
    pointer: NonNull<ibv_qp>,
    /// Whether the device let go of it.
    is_destroyed: bool,
    number: u32,
    pub(super) id: Id,
    domain: Arc<Domain>,
    /// Both stay at least as long as the queue pair.
    _completions: Arc<CompletionQueue>,
    _shared: Option<Arc<SharedReceives>>,
}

// SAFETY: a queue pair is owned by one endpoint and used by its thread only, wherever that moves.
unsafe impl Send for QueuePair {}

impl QueuePair {
    /// Makes the queue pair of a bound identifier, ready for receives; hands the identifier back if that fails.
    pub(super) fn new(
        mut id: Id,
        domain: &Arc<Domain>,
        completions: &Arc<CompletionQueue>,
        shared: Option<&Arc<SharedReceives>>,
        depths: &Depths,
    ) -> Result<Self, (io::Error, Id)> {
        let mut attributes = ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: completions.pointer.as_ptr(),
            recv_cq: completions.pointer.as_ptr(),
            srq: shared.map_or(ptr::null_mut(), |queue| queue.pointer.as_ptr()),
            cap: ibv_qp_cap {
                max_send_wr: depths.sends,
                max_recv_wr: depths.receives,
                max_send_sge: depths.segments,
                max_recv_sge: 1,
                max_inline_data: u32::try_from(INLINE_BYTES_MAX).unwrap_or(0),
            },
            qp_type: ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 0,
        };
        // SAFETY: domain and queues are alive, and the queue pair holds them by Arcs.
        let pointer = match unsafe { id.create_queue_pair(domain.pointer.as_ptr(), &mut attributes) } {
            Ok(pointer) => pointer,
            Err(error) => return Err((error, id)),
        };
        // SAFETY: the queue pair was just made; the field never changes.
        let number = unsafe { (*pointer.as_ptr()).qp_num };
        Ok(Self {
            pointer,
            is_destroyed: false,
            number,
            id,
            domain: Arc::clone(domain),
            _completions: Arc::clone(completions),
            _shared: shared.map(Arc::clone),
        })
    }

    /// Its number on the wire.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Puts it into its error state: nothing goes out or comes in any more, and what was posted flushes.
    pub(super) fn fail(&mut self) -> io::Result<()> {
        self.modify(ibv_qp_state::IBV_QPS_ERR, ibv_qp_attr_mask::IBV_QP_STATE, 0)
    }

    /// Shortens the peer's wait for a receive. A device that refuses keeps its own.
    pub(super) fn shorten_receiver_wait(&mut self) {
        let mask = ibv_qp_attr_mask::IBV_QP_STATE | ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER;
        if let Err(error) = self.modify(ibv_qp_state::IBV_QPS_RTS, mask, RNR_TIMER) {
            tracing::debug!(%error, "the RNR timer stays as it is");
        }
    }

    fn modify(
        &mut self,
        state: ibv_qp_state::Type,
        mask: ibv_qp_attr_mask,
        min_rnr_timer: u8,
    ) -> io::Result<()> {
        // SAFETY: all zeroes are a valid value: integers only.
        let mut attributes: ibv_qp_attr = unsafe { mem::zeroed() };
        attributes.qp_state = state;
        attributes.min_rnr_timer = min_rnr_timer;
        let mask = c_int::try_from(mask.0).unwrap_or(0);
        let modify = self.domain.context.libraries.verbs.ibv_modify_qp;
        // SAFETY: the queue pair is ours; the attributes outlive the call.
        check(unsafe { modify(self.pointer.as_ptr(), &raw mut attributes, mask) })
    }

    /// Takes it away from the device. If this fails, the device may still reach the memory of its work.
    pub(super) fn destroy(&mut self) -> bool {
        if !self.is_destroyed {
            self.id.forget_queue_pair();
            // SAFETY: the queue pair is ours, and librdmacm has forgotten it. Its events are acknowledged as they are read.
            let answer =
                unsafe { (self.domain.context.libraries.verbs.ibv_destroy_qp)(self.pointer.as_ptr()) };
            self.is_destroyed = answer == 0;
        }
        self.is_destroyed
    }

    /// Posts a batch.
    ///
    /// # Safety
    /// The memory of the batch's segments stays as it is until the work has completed or the queue pair is destroyed; for
    /// receives and reads nobody else writes it. Windows and registrations of the batch live as long.
    pub(super) unsafe fn post_send(&mut self, batch: &mut SendBatch) -> Posted {
        let first = batch.link();
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair is ours; the list is linked through memory of the batch, which outlives the call.
        let answer = unsafe { rdma_sys::ibv_post_send(self.pointer.as_ptr(), first, &raw mut bad) };
        Posted::new(answer, bad.cast_const(), &batch.requests)
    }

    /// Posts receives to its own queue.
    ///
    /// # Safety
    /// As for [`Self::post_send`].
    pub(super) unsafe fn post_receive(&mut self, batch: &mut ReceiveBatch) -> Posted {
        let first = batch.link();
        let mut bad = ptr::null_mut();
        // SAFETY: as for post_send.
        let answer = unsafe { rdma_sys::ibv_post_recv(self.pointer.as_ptr(), first, &raw mut bad) };
        Posted::new(answer, bad.cast_const(), &batch.requests)
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        if !self.destroy() {
            tracing::error!(queue_pair = self.number, "an RDMA device does not let go of a queue pair");
        }
    }
}

impl SharedReceives {
    /// Posts receives.
    ///
    /// # Safety
    /// As for [`QueuePair::post_send`], until the shared receive queue is destroyed.
    pub(super) unsafe fn post(&self, batch: &mut ReceiveBatch) -> Posted {
        let first = batch.link();
        let mut bad = ptr::null_mut();
        // SAFETY: the queue is ours; the list is linked through memory of the batch, which outlives the call.
        let answer = unsafe { rdma_sys::ibv_post_srq_recv(self.pointer.as_ptr(), first, &raw mut bad) };
        Posted::new(answer, bad.cast_const(), &batch.requests)
    }
}

/// How much of a batch the device took.
pub(super) struct Posted {
    /// So many from the front.
    pub(super) taken: usize,
    /// The error number for the rest; 0 if there is none.
    pub(super) errno: c_int,
}

impl Posted {
    /// `bad` is the first work request that was not taken.
    fn new<T>(answer: c_int, bad: *const T, requests: &[T]) -> Self {
        if answer == 0 {
            return Self { taken: requests.len(), errno: 0 };
        }
        let taken = requests.iter().position(|request| ptr::eq(request, bad)).unwrap_or(0);
        // Some older drivers answer with -1 and errno.
        let errno =
            if answer > 0 { answer } else { io::Error::last_os_error().raw_os_error().unwrap_or(-answer) };
        Self { taken, errno }
    }

    /// Whether it was room that was missing, which comes again.
    pub(super) fn is_full(&self) -> bool {
        self.errno == libc::ENOMEM
    }
}

/// One segment of memory, as the device knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) address: u64,
    pub(super) bytes: u32,
    pub(super) key: u32,
}

impl From<Piece> for ibv_sge {
    fn from(piece: Piece) -> Self {
        Self { addr: piece.address, length: piece.bytes, lkey: piece.key }
    }
}

/// How a work request is to be treated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Treatment {
    pub(super) signaled: bool,
    pub(super) fenced: bool,
}

/// A window to be bound.
pub(super) struct Binding<'a> {
    pub(super) window: &'a Window,
    pub(super) key: u32,
    pub(super) registration: RegistrationName,
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) rights: Rights,
}

/// Work requests for a send queue. Its memory is used again for every batch.
pub(super) struct SendBatch {
    requests: Vec<ibv_send_wr>,
    segments: Vec<ibv_sge>,
    inline: Vec<InlineData>,
}

// SAFETY: the pointers in it are made by `link` for one call and used by nobody between two calls.
unsafe impl Send for SendBatch {}

impl SendBatch {
    pub(super) fn new() -> Self {
        Self {
            requests: Vec::with_capacity(BATCH_MAX),
            segments: Vec::with_capacity(BATCH_MAX),
            inline: Vec::with_capacity(BATCH_MAX),
        }
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.segments.clear();
        self.inline.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Adds work with registered memory.
    pub(super) fn memory(
        &mut self,
        name: WorkName,
        op: SendOp,
        treatment: Treatment,
        pieces: impl Iterator<Item = Piece>,
    ) {
        let before = self.segments.len();
        self.segments.extend(pieces.map(ibv_sge::from));
        let count = self.segments.len() - before;
        self.push(name, Verb::Work(op), treatment, count, false);
    }

    /// Adds work with data in the request.
    pub(super) fn inline(&mut self, name: WorkName, op: SendOp, treatment: Treatment, data: InlineData) {
        let count = usize::from(!data.bytes().is_empty());
        if count > 0 {
            let bytes = u32::try_from(data.bytes().len()).unwrap_or(0);
            self.segments.push(ibv_sge { addr: 0, length: bytes, lkey: 0 });
            self.inline.push(data);
        }
        self.push(name, Verb::Work(op), treatment, count, count > 0);
    }

    /// Adds the binding of a window.
    pub(super) fn bind(&mut self, name: WorkName, treatment: Treatment, binding: &Binding<'_>) {
        self.push(name, Verb::Bind(binding), treatment, 0, false);
    }

    /// Adds the unbinding of this side's window of that key.
    pub(super) fn invalidate(&mut self, name: WorkName, treatment: Treatment, key: u32) {
        self.push(name, Verb::Invalidate(key), treatment, 0, false);
    }

    fn push(&mut self, name: WorkName, verb: Verb<'_>, treatment: Treatment, segments: usize, inline: bool) {
        let flag = |wanted: bool, flag: ibv_send_flags| if wanted { flag.0 } else { 0 };
        let send_flags = flag(treatment.signaled, ibv_send_flags::IBV_SEND_SIGNALED)
            | flag(treatment.fenced, ibv_send_flags::IBV_SEND_FENCE)
            | flag(inline, ibv_send_flags::IBV_SEND_INLINE);
        self.requests.push(ibv_send_wr {
            wr_id: name.to_bits(),
            next: ptr::null_mut(),
            sg_list: ptr::null_mut(),
            num_sge: c_int::try_from(segments).unwrap_or(0),
            opcode: verb.opcode(),
            send_flags,
            imm_data_invalidated_rkey_union: imm_data_invalidated_rkey_union_t {
                invalidated_rkey: verb.invalidated(),
            },
            wr: wr_t { rdma: verb.remote() },
            qp_type: qp_type_t { xrc: xrc_t { remote_srqn: 0 } },
            bind_mw_tso_union: bind_mw_tso_union_t { bind_mw: verb.binding() },
        });
    }

    /// Links the requests and points them at their segments and bytes; null if there are none.
    fn link(&mut self) -> *mut ibv_send_wr {
        let mut segments = &mut self.segments[..];
        let mut inline = self.inline.iter();
        let mut next = ptr::null_mut();
        for request in &mut self.requests {
            let count = usize::try_from(request.num_sge).unwrap_or(0);
            let (own, rest) = mem::take(&mut segments).split_at_mut(count);
            segments = rest;
            if request.send_flags & ibv_send_flags::IBV_SEND_INLINE.0 != 0
                && let (Some(data), Some(segment)) = (inline.next(), own.first_mut())
            {
                segment.addr = data.bytes().as_ptr().expose_provenance() as u64;
            }
            request.sg_list = own.as_mut_ptr();
        }
        for request in self.requests.iter_mut().rev() {
            request.next = next;
            next = request;
        }
        next
    }
}

/// What a work request does.
enum Verb<'a> {
    Work(SendOp),
    Bind(&'a Binding<'a>),
    Invalidate(u32),
}

impl Verb<'_> {
    fn opcode(&self) -> ibv_wr_opcode::Type {
        match self {
            Self::Work(SendOp::Send) => ibv_wr_opcode::IBV_WR_SEND,
            Self::Work(SendOp::SendInvalidate(_)) => ibv_wr_opcode::IBV_WR_SEND_WITH_INV,
            Self::Work(SendOp::Write(_)) => ibv_wr_opcode::IBV_WR_RDMA_WRITE,
            Self::Work(SendOp::Read(_)) => ibv_wr_opcode::IBV_WR_RDMA_READ,
            Self::Bind(_) => ibv_wr_opcode::IBV_WR_BIND_MW,
            Self::Invalidate(_) => ibv_wr_opcode::IBV_WR_LOCAL_INV,
        }
    }

    fn invalidated(&self) -> u32 {
        match self {
            Self::Work(SendOp::SendInvalidate(key)) => key.0,
            Self::Invalidate(key) => *key,
            _ => 0,
        }
    }

    fn remote(&self) -> rdma_t {
        match self {
            Self::Work(
                SendOp::Write(RemoteMemory { address, key }) | SendOp::Read(RemoteMemory { address, key }),
            ) => rdma_t { remote_addr: *address, rkey: key.0 },
            _ => rdma_t { remote_addr: 0, rkey: 0 },
        }
    }

    fn binding(&self) -> bind_mw_t {
        let Self::Bind(binding) = self else {
            let bind_info = ibv_mw_bind_info { mr: ptr::null_mut(), addr: 0, length: 0, mw_access_flags: 0 };
            return bind_mw_t { mw: ptr::null_mut(), rkey: 0, bind_info };
        };
        let right = |right: Rights, flag: ibv_access_flags| {
            if binding.rights.contains(right) { flag.0 } else { 0 }
        };
        bind_mw_t {
            mw: binding.window.pointer(),
            rkey: binding.key,
            bind_info: ibv_mw_bind_info {
                mr: binding.registration.pointer(),
                addr: binding.address,
                length: binding.bytes,
                mw_access_flags: right(Rights::READ, ibv_access_flags::IBV_ACCESS_REMOTE_READ)
                    | right(Rights::WRITE, ibv_access_flags::IBV_ACCESS_REMOTE_WRITE),
            },
        }
    }
}

/// Receives to be posted. Its memory is used again for every batch.
pub(super) struct ReceiveBatch {
    requests: Vec<ibv_recv_wr>,
    segments: Vec<ibv_sge>,
}

// SAFETY: the pointers in it are made by `link` for one call and used by nobody between two calls.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    pub(super) fn new() -> Self {
        Self { requests: Vec::with_capacity(BATCH_MAX), segments: Vec::with_capacity(BATCH_MAX) }
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.segments.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn push(&mut self, name: WorkName, piece: Piece) {
        self.segments.push(piece.into());
        self.requests.push(ibv_recv_wr {
            wr_id: name.to_bits(),
            next: ptr::null_mut(),
            sg_list: ptr::null_mut(),
            num_sge: 1,
        });
    }

    fn link(&mut self) -> *mut ibv_recv_wr {
        let mut next = ptr::null_mut();
        for (request, segment) in self.requests.iter_mut().zip(&mut self.segments).rev() {
            request.sg_list = segment;
            request.next = next;
            next = request;
        }
        next
    }
}

/// The immediate data or the key that a completion carries, as it is there.
pub(super) fn word_of(completion: &ibv_wc) -> u32 {
    // SAFETY: both members of the union are 32-bit integers, and the hardware's driver or `empty_completion` wrote one.
    unsafe { completion.imm_data_invalidated_rkey_union.invalidated_rkey }
}

/// A place for a completion.
pub(super) fn empty_completion() -> ibv_wc {
    ibv_wc {
        wr_id: 0,
        status: 0,
        opcode: 0,
        vendor_err: 0,
        byte_len: 0,
        imm_data_invalidated_rkey_union: imm_data_invalidated_rkey_union_t { invalidated_rkey: 0 },
        qp_num: 0,
        src_qp: 0,
        wc_flags: 0,
        pkey_index: 0,
        slid: 0,
        sl: 0,
        dlid_path_bits: 0,
    }
}
