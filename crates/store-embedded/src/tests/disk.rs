//! A storage backend whose flushes can be blocked and whose operations can fail.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};
use redb::{StorageBackend, backends::InMemoryBackend};

/// Control of a disk. Clones control the same disk.
#[derive(Debug, Clone, Default)]
pub struct DiskControl(Arc<Switches>);

#[derive(Debug, Default)]
struct Switches {
    gate: Mutex<Gate>,
    changed: Condvar,
    flushes: AtomicUsize,
    flush_fails: AtomicBool,
    growth_fails: AtomicBool,
    memory: InMemoryBackend,
}

#[derive(Debug, Default)]
struct Gate {
    shut: bool,
    waiting: bool,
}

#[derive(Debug)]
pub struct Disk {
    control: DiskControl,
}

impl DiskControl {
    /// Returns a backend on the disk, with the data written before.
    pub fn backend(&self) -> Disk {
        Disk { control: self.clone() }
    }

    /// Ends all injected failures.
    pub fn end_failures(&self) {
        self.0.flush_fails.store(false, Ordering::SeqCst);
        self.0.growth_fails.store(false, Ordering::SeqCst);
    }

    /// Blocks flushes until [`DiskControl::unblock_flushes`].
    pub fn block_flushes(&self) {
        self.0.gate.lock().shut = true;
    }

    /// Waits until a flush is blocked.
    pub fn wait_for_blocked_flush(&self) {
        let mut gate = self.0.gate.lock();
        while !gate.waiting {
            self.0.changed.wait(&mut gate);
        }
    }

    pub fn unblock_flushes(&self) {
        self.0.gate.lock().shut = false;
        self.0.changed.notify_all();
    }

    pub fn fail_flushes(&self) {
        self.0.flush_fails.store(true, Ordering::SeqCst);
    }

    /// Makes each change of the file size fail, as on a full disk.
    pub fn fail_growth(&self) {
        self.0.growth_fails.store(true, Ordering::SeqCst);
    }

    pub fn flushes(&self) -> usize {
        self.0.flushes.load(Ordering::SeqCst)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.control.0.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.control.0.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if self.control.0.growth_fails.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.control.0.memory.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let Switches { gate, changed, flushes, flush_fails, .. } = &*self.control.0;
        let mut gate = gate.lock();
        while gate.shut {
            gate.waiting = true;
            changed.notify_all();
            changed.wait(&mut gate);
        }
        gate.waiting = false;
        flushes.fetch_add(1, Ordering::SeqCst);
        if flush_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected flush failure"));
        }
        self.control.0.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.control.0.memory.write(offset, data)
    }
}
