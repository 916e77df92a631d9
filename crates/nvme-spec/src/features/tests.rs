use super::*;

#[test]
fn number_of_queues() {
    // Base, Number of Queues: NSQR 15:0, NCQR 31:16, both 0-based; 65535 is not allowed.
    let asked = NumberOfQueues::from_raw(0x0007_000F).unwrap();
    assert_eq!((asked.submission.get(), asked.completion.get()), (16, 8));
    assert_eq!(asked.raw(), 0x0007_000F);
    assert_eq!(NumberOfQueues::from_raw(0xFFFF_0000), None);
    assert_eq!(NumberOfQueues::from_raw(0x0000_FFFF), None);
    let most = QueueCount::new(65535).unwrap();
    assert_eq!(NumberOfQueues { submission: most, completion: most }.raw(), 0xFFFE_FFFE);
    assert_eq!(QueueCount::new(0), None);
}

#[test]
fn arbitration() {
    // Base, Arbitration: AB 2:0, LPW 15:8, MPW 23:16, HPW 31:24.
    let value = Arbitration { burst: 7, low_weight: 1, medium_weight: 2, high_weight: 3 };
    assert_eq!((Arbitration::from_raw(0x0302_01FF), value.raw()), (value, 0x0302_0107));
}

#[test]
fn interrupts() {
    // Base, Interrupt Coalescing: THR 7:0, TIME 15:8. Base, Interrupt Vector Configuration: IV 15:0, CD 16.
    let coalescing = InterruptCoalescing { threshold: 3, time: 0x10 };
    assert_eq!((InterruptCoalescing::from_raw(0x1003), coalescing.raw()), (coalescing, 0x1003));
    let vector = InterruptVectorConfiguration { vector: 0x0102, coalescing_disabled: true };
    assert_eq!((InterruptVectorConfiguration::from_raw(0x0001_0102), vector.raw()), (vector, 0x0001_0102));
}

#[test]
fn power_and_temperature() {
    // Base, Power Management: PS 4:0, WH 7:5. Temperature Threshold: TMPTH 15:0, TMPSEL 19:16, THSEL 21:20.
    let power = PowerManagement { power_state: 4, workload_hint: 2 };
    assert_eq!((PowerManagement::from_raw(0x44), power.raw()), (power, 0x44));
    let threshold = TemperatureThreshold { kelvins: 343, sensor: 0xF, kind: ThresholdType::Under };
    assert_eq!(TemperatureThreshold::from_raw(0x001F_0157), Some(threshold));
    assert_eq!(threshold.raw(), 0x001F_0157);
    assert_eq!(TemperatureThreshold::from_raw(0).map(|over| over.kind), Some(ThresholdType::Over));
    assert_eq!(TemperatureThreshold::from_raw(2 << 20), None);
    assert_eq!(TemperatureThreshold::from_raw(3 << 20), None);
}

#[test]
fn error_recovery() {
    // NVM, Error Recovery: TLER 15:0, DULBE 16.
    let value = ErrorRecovery { time_limit: 50, deallocated_error: true };
    assert_eq!((ErrorRecovery::from_raw(0x0001_0032), value.raw()), (value, 0x0001_0032));
}

#[test]
fn host_features() {
    assert_eq!(KeepAliveTimer::from_raw(120_000).timeout_ms, 120_000);
    assert_eq!(KeepAliveTimer { timeout_ms: 7 }.raw(), 7);
    let mut data = [0; 512];
    data[..6].copy_from_slice(&[1, 2, 3, 4, 0x34, 0x12]);
    let behavior = HostBehaviorSupport { acre: 1, etdas: 2, lbafee: 3, hdisns: 4, cdfe: 0x1234 };
    assert_eq!(HostBehaviorSupport::from_bytes(&data), Ok(behavior.clone()));
    assert_eq!(behavior.to_bytes(), data);
    assert!(HostBehaviorSupport::from_bytes(&data[..511]).is_err());
}

#[test]
fn host_identifier() {
    let bytes: [u8; 16] = std::array::from_fn(|index| index as u8 + 1);
    let short = HostIdentifier::Short(0x0807_0605_0403_0201);
    assert_eq!(HostIdentifier::from_bytes(false, &bytes), Ok(short));
    assert_eq!(short.to_bytes(), ([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0], 8));
    let extended = HostIdentifier::Extended(bytes);
    assert_eq!(HostIdentifier::from_bytes(true, &bytes), Ok(extended));
    assert_eq!((extended.to_bytes(), extended.cdw11(), short.cdw11()), ((bytes, 16), 1, 0));
    assert!(HostIdentifier::from_bytes(true, &bytes[..15]).is_err());
    assert!(HostIdentifier::from_bytes(false, &bytes[..7]).is_err());
    assert!(HostIdentifier::Short(0).is_none() && !short.is_none());
}

#[test]
fn write_protection_states() {
    use NamespaceWriteProtection::{Off, On, Permanent, UntilPowerCycle};
    let states = [Some(Off), Some(On), Some(UntilPowerCycle), Some(Permanent), None, None, None, None];
    for (raw, state) in (0_u32..).zip(states) {
        assert_eq!(NamespaceWriteProtection::from_raw(raw), state);
        assert!(state.is_none_or(|state| state.raw() == raw));
    }
}

#[test]
fn flags_by_bit() {
    // Base, Get Features with Select 011b; feature 06h WCE bit 0; 0Bh; 82h REGPRE 1, RESREL 2, RESPRE 3; 83h
    // PTPL 0.
    assert_eq!(FeatureCapabilities::CHANGEABLE.bits(), 4);
    assert_eq!(VolatileWriteCacheEnable::ENABLED.bits(), 1);
    let events = AsyncEventConfiguration::NAMESPACE_ATTRIBUTE | AsyncEventConfiguration::ANA_CHANGE;
    assert_eq!((events.bits(), AsyncEventConfiguration::DISCOVERY_LOG_CHANGE.bits()), (0x900, 0x8000_0000));
    assert_eq!(ReservationMask::all().bits() & 0xF, 0xF);
    assert_eq!(ReservationMask::RESERVATION_PREEMPTED.bits(), 8);
    assert_eq!(ReservationPersistence::PERSIST_THROUGH_POWER_LOSS.bits(), 1);
}
