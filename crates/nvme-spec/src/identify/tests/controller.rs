use super::super::*;
use super::image;
use crate::TooShort;
use crate::async_event::AsyncEvents;
use crate::ids::ControllerId;
use crate::prp::PageSize;
use crate::registers::Version;
use crate::text::Text;

/// Base, Identify Controller Data Structure, byte 0 to 343.
const CONTROLLER_LOW: &[(usize, &[u8])] = &[
    (0, &[0x34, 0x12, 0x78, 0x56]),
    (4, b"SERIAL0123          "),
    (24, b"Remora Test Model                       "),
    (64, b"FW 1.0  "),
    (72, &[6, 0xAA, 0xBB, 0xCC, 0x0A, 5, 0x02, 0x01]),
    (80, &[0, 1, 2, 0]),
    (84, &[0x40, 0x42, 0x0F, 0, 0x80, 0x84, 0x1E, 0]),
    (92, &[0x00, 0x09, 0, 0x80]),
    (96, &[0x41, 0, 0, 0, 0x0F, 0x10]),
    (111, &[1]),
    (112, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    (128, &[10, 0, 20, 0, 30, 0]),
    (256, &[0x06, 0x01, 3, 7, 0x17, 0x0F, 63, 4, 1, 1]),
    (266, &[0x57, 0x01, 0x61, 0x01, 0x64, 0, 1, 0, 0, 0, 2, 0, 0, 0]),
    (280, &[0, 0, 0, 0, 0, 0, 0, 0, 1]),
    (296, &[0, 0x10]),
    (312, &[9, 0, 0, 0, 30, 0, 1, 8, 100, 0, 1, 0, 0x11, 1, 0x22, 1, 7, 0, 0, 0]),
    (332, &[3, 0, 0, 0, 4, 0, 5, 0, 6, 0, 10, 0x1F]),
];

/// Base, Identify Controller Data Structure, byte 344 to 4095, and Power State Descriptor for the first two.
const CONTROLLER_HIGH: &[(usize, &[u8])] = &[
    (344, &[32, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 0x0D, 0x0C]),
    (512, &[0x66, 0x44, 0, 1, 0, 4, 0, 0, 0xAF, 0, 1, 0, 4, 7, 0xFF, 3, 7, 0, 1, 2, 3, 0, 1, 0]),
    (536, &[5, 0, 0x10, 0, 0xE8, 3, 0, 0]),
    (768, b"nqn.2014-08.org.nvmexpress:remora\0"),
    (1792, &[4, 1, 0, 0, 1, 0, 0, 0, 2, 0, 1, 16, 1, 0, 2]),
    (2048, &[0xC4, 0x09, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 1, 2, 3, 4, 7, 0, 0x40, 0, 8, 0, 0x82]),
    (2080, &[0x64, 0, 0, 3]),
];

fn controller_image() -> [u8; IDENTIFY_BYTES] {
    image(&[CONTROLLER_LOW, CONTROLLER_HIGH].concat())
}

fn power_states() -> [PowerState; 32] {
    let mut psd = std::array::from_fn(|_| PowerState::default());
    psd[0] = PowerState {
        maximum_power: 2500,
        flags: 0,
        entry_latency_us: 5,
        exit_latency_us: 6,
        rrt: 1,
        rrl: 2,
        rwt: 3,
        rwl: 4,
        idlp: 7,
        idle_power_scale: 0x40,
        actp: 8,
        active_power_scale: 0x82,
    };
    psd[1] = PowerState { maximum_power: 100, flags: 3, ..PowerState::default() };
    psd
}

fn controller_low() -> IdentifyController {
    IdentifyController {
        vid: 0x1234,
        ssvid: 0x5678,
        sn: Text::space_padded("SERIAL0123").unwrap(),
        mn: Text::space_padded("Remora Test Model").unwrap(),
        fr: Text::space_padded("FW 1.0").unwrap(),
        rab: 6,
        ieee: [0xAA, 0xBB, 0xCC],
        cmic: MultiPath::CONTROLLERS | MultiPath::ANA_REPORTING,
        mdts: 5,
        cntlid: ControllerId(0x0102),
        ver: Version::V2_1,
        rtd3r_us: 1_000_000,
        rtd3e_us: 2_000_000,
        oaes: AsyncEvents::NAMESPACE_ATTRIBUTE | AsyncEvents::ANA_CHANGE | AsyncEvents::DISCOVERY_LOG_CHANGE,
        ctratt: ControllerAttributes::HOST_IDENTIFIER_128 | ControllerAttributes::TRAFFIC_BASED_KEEP_ALIVE,
        rrls: 0x100F,
        cntrltype: ControllerType::IO,
        fguid: std::array::from_fn(|index| index as u8 + 1),
        crdt: [10, 20, 30],
        oacs: AdminCommands::FORMAT_NVM | AdminCommands::FIRMWARE | AdminCommands::DOORBELL_BUFFER_CONFIG,
        acl: 3,
        aerl: 7,
        frmw: 0x17,
        lpa: LogAttributes::SMART_PER_NAMESPACE
            | LogAttributes::COMMANDS_SUPPORTED
            | LogAttributes::EXTENDED_DATA
            | LogAttributes::TELEMETRY,
        elpe: 63,
        npss: 4,
        ..IdentifyController::default()
    }
}

fn controller_value() -> IdentifyController {
    IdentifyController {
        avscc: 1,
        apsta: 1,
        wctemp: 343,
        cctemp: 353,
        mtfa: 100,
        hmpre: 1,
        hmmin: 2,
        tnvmcap_bytes: 1 << 64,
        unvmcap_bytes: 4096,
        rpmbs: 9,
        edstt_min: 30,
        dsto: 1,
        fwug: 8,
        kas: 100,
        hctma: 1,
        mntmt: 0x111,
        mxtmt: 0x122,
        sanicap: 7,
        hmminds: 3,
        hmmaxd: 4,
        nsetidmax: 5,
        endgidmax: 6,
        anatt_s: 10,
        anacap: AnaCapabilities::OPTIMIZED
            | AnaCapabilities::NON_OPTIMIZED
            | AnaCapabilities::INACCESSIBLE
            | AnaCapabilities::PERSISTENT_LOSS
            | AnaCapabilities::CHANGE,
        anagrpmax: 32,
        nanagrpid: 16,
        pels: 2,
        domainid: 0x0C0D,
        sqes: QueueEntrySizes::new(6, 6),
        cqes: QueueEntrySizes::new(4, 4),
        maxcmd: 256,
        nn: 1024,
        oncs: NvmCommands::COMPARE
            | NvmCommands::WRITE_UNCORRECTABLE
            | NvmCommands::DATASET_MANAGEMENT
            | NvmCommands::WRITE_ZEROES
            | NvmCommands::RESERVATIONS
            | NvmCommands::VERIFY,
        fuses: FusedOperations::COMPARE_AND_WRITE,
        fna: FormatAttributes::CRYPTOGRAPHIC_ERASE,
        vwc: VolatileWriteCache::PRESENT_FLUSH_ALL,
        awun: 0x03FF,
        awupf: 7,
        icsvscc: 1,
        nwpc: 2,
        acwu: 3,
        cdfs: 1,
        sgls: SglSupport::new(SglAlignment::Byte).with_keyed_and_offset(),
        mnan: 1000,
        subnqn: Text::nul_terminated("nqn.2014-08.org.nvmexpress:remora").unwrap(),
        ioccsz: 260,
        iorcsz: 1,
        icdoff: 2,
        fcatt: 1,
        msdbd: 16,
        ofcs: 1,
        dctype: 2,
        psd: power_states(),
        ..controller_low()
    }
}

#[test]
fn controller_both_ways() {
    assert_eq!(IdentifyController::from_bytes(&controller_image()), Ok(controller_value()));
    let bytes = controller_value().to_bytes();
    let differing: Vec<usize> = (0..4096).filter(|&at| bytes[at] != controller_image()[at]).collect();
    assert_eq!(differing, Vec::<usize>::new());
}

#[test]
fn controller_helpers() {
    let mut controller = controller_value();
    assert_eq!(controller.max_transfer_bytes(PageSize::KIB_4), Some(131_072));
    assert_eq!([0, 1, 2, 3, 4].map(|crd| controller.retry_delay_ms(crd)), [0, 1000, 2000, 3000, 0]);
    assert_eq!((controller.aborts_max(), controller.async_events_max()), (4, 8));
    assert_eq!(controller.error_log_entries(), 64);
    controller.mdts = 0;
    assert_eq!(controller.max_transfer_bytes(PageSize::KIB_4), None);
    for lie in [52, 63, 64, 255] {
        controller.mdts = lie;
        assert_eq!(controller.max_transfer_bytes(PageSize::KIB_4), None);
    }
    controller.mdts = 51;
    assert_eq!(controller.max_transfer_bytes(PageSize::KIB_4), Some(1 << 63));
}

#[test]
fn short_data_is_named() {
    let error = IdentifyController::from_bytes(&[0; 4095]).unwrap_err();
    assert_eq!(error, TooShort { structure: "Identify Controller", needed: 4096, got: 4095 });
    assert!(IdentifyNamespace::from_bytes(&[]).is_err() && NamespaceList::from_bytes(&[0; 4095]).is_err());
}

#[test]
fn volatile_write_cache_by_value() {
    // Base, Identify Controller Data Structure, VWC: bit 0 present, bits 2:1 00b not indicated, 01b reserved,
    // 10b no, 11b yes.
    let flushes_all = [None, None, Some(false), Some(true)];
    for raw in 0..8 {
        let vwc = VolatileWriteCache::from_raw(raw);
        assert_eq!((vwc.is_present(), vwc.flushes_all()), (raw % 2 == 1, flushes_all[usize::from(raw / 2)]));
    }
    assert_eq!((VolatileWriteCache::PRESENT.raw(), VolatileWriteCache::ABSENT.raw()), (5, 0));
}

#[test]
fn sgl_support_by_bit() {
    // Base, Identify Controller Data Structure, SGLS: 1:0 support, 2 keyed, 15:8 threshold, 16 bit bucket, 20
    // offset, 21 transport.
    let alignments = [None, Some(SglAlignment::Byte), Some(SglAlignment::Dword), None];
    for (raw, alignment) in (0..4).zip(alignments) {
        assert_eq!(SglSupport::from_raw(raw).alignment(), alignment);
    }
    let bit = |bit: u32| SglSupport::from_raw(1 << bit);
    assert!(bit(2).keyed() && bit(16).bit_bucket() && bit(20).offset() && bit(21).transport());
    assert!(!bit(3).keyed() && !bit(17).bit_bucket() && !bit(21).offset() && !bit(20).transport());
    assert_eq!(SglSupport::from_raw(0x0000_2A00).descriptor_threshold(), 0x2A);
    let built = SglSupport::new(SglAlignment::Dword).with_keyed_and_offset().with_bit_bucket();
    assert_eq!(built.raw(), 0x0011_0006);
    let sizes = QueueEntrySizes::from_raw(0x64);
    assert_eq!((sizes.required(), sizes.greatest(), QueueEntrySizes::new(4, 6)), (4, 6, sizes));
}

#[test]
fn a_power_states_units_are_in_its_bits() {
    let mut bytes = [0; 32];
    // NOPS and MXPS in byte 3; IPS in bits 7:6 of byte 18; APS in bits 7:6 and APW in bits 2:0 of byte 22.
    (bytes[3], bytes[18], bytes[22]) = (0b11, 0b0100_0000, 0b1000_0101);
    let state = PowerState::from_array(&bytes);
    assert!(state.is_non_operational());
    assert_eq!(state.maximum_power_unit(), PowerScale::TenThousandths);
    assert_eq!(
        (state.idle_power_unit(), state.active_power_unit()),
        (PowerScale::TenThousandths, PowerScale::Hundredths)
    );
    assert_eq!(state.active_power_workload(), 5);
    let zero = PowerState::default();
    assert!(!zero.is_non_operational());
    assert_eq!(
        (zero.maximum_power_unit(), zero.idle_power_unit()),
        (PowerScale::Hundredths, PowerScale::NotReported)
    );
    bytes[18] = 0b1100_0000;
    assert_eq!(PowerState::from_array(&bytes).idle_power_unit(), PowerScale::Reserved);
}
