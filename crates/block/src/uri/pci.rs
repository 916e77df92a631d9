//! Where a function sits on the PCI bus.

use std::fmt;
use std::str::FromStr;

/// A PCI function's address: `0000:01:00.0`, domain, bus, device and function in hexadecimal, as lspci writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// A text or numbers that are no PCI address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAddressError;

/// Devices of a bus (PCI Local Bus Specification, 3.2.2.3.2: a 5-bit field).
const DEVICES: u8 = 32;

/// Functions of a device (a 3-bit field).
const FUNCTIONS: u8 = 8;

impl PciAddress {
    /// The address of a function; devices are 0 to 31, functions 0 to 7. Domains above 0xffff exist behind Intel's VMD.
    pub const fn new(domain: u32, bus: u8, device: u8, function: u8) -> Result<Self, PciAddressError> {
        if device < DEVICES && function < FUNCTIONS {
            Ok(Self { domain, bus, device, function })
        } else {
            Err(PciAddressError)
        }
    }

    /// The domain (segment group).
    #[must_use]
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// The bus.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device, 0 to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function, 0 to 7.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.function
    }
}

impl FromStr for PciAddress {
    type Err = PciAddressError;

    /// Reads `DDDD:BB:dd.f`, or `BB:dd.f` in domain 0.
    fn from_str(text: &str) -> Result<Self, PciAddressError> {
        let (slot, function) = text.rsplit_once('.').ok_or(PciAddressError)?;
        let (bus, device) = slot.rsplit_once(':').ok_or(PciAddressError)?;
        let (domain, bus) = bus.rsplit_once(':').unwrap_or(("0000", bus));
        let narrow = |value: u32| u8::try_from(value).map_err(|_| PciAddressError);
        if domain.len() < 4 {
            return Err(PciAddressError);
        }
        Self::new(
            hex(domain, 8)?,
            narrow(hex(bus, 2)?)?,
            narrow(hex(device, 2)?)?,
            narrow(hex(function, 1)?)?,
        )
    }
}

fn hex(text: &str, digits_max: usize) -> Result<u32, PciAddressError> {
    let digits = !text.is_empty() && text.len() <= digits_max && text.bytes().all(|b| b.is_ascii_hexdigit());
    if digits { u32::from_str_radix(text, 16).map_err(|_| PciAddressError) } else { Err(PciAddressError) }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.device, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lspci_and_sysfs_addresses_are_read() {
        let address: PciAddress = "0000:c1:1f.7".parse().unwrap();
        assert_eq!((address.domain(), address.bus(), address.device(), address.function()), (0, 0xc1, 31, 7));
        assert_eq!("01:00.0".parse(), PciAddress::new(0, 1, 0, 0));
        assert_eq!("10000:E1:00.0".parse::<PciAddress>().unwrap().to_string(), "10000:e1:00.0");
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "0000:01:00",
            "0000:01:20.0",
            "0000:01:00.8",
            "01.0",
            "0:01:00.0",
            "0000:001:00.0",
            "+000:01:00.0",
        ] {
            assert_eq!(text.parse::<PciAddress>(), Err(PciAddressError), "{text}");
        }
    }
}
