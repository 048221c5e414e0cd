//! A disk whose flushes can be held up, and that can be told to fail.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};
use redb::{StorageBackend, backends::InMemoryBackend};

/// The hand on the disk. Clones hold the same disk.
#[derive(Debug, Clone, Default)]
pub struct Hand(Arc<Switches>);

#[derive(Debug, Default)]
struct Switches {
    gate: Mutex<Gate>,
    moved: Condvar,
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
    hand: Hand,
}

impl Hand {
    /// The disk, with what was written to it before.
    pub fn disk(&self) -> Disk {
        Disk { hand: self.clone() }
    }

    /// Nothing fails from now on.
    pub fn heal(&self) {
        self.0.flush_fails.store(false, Ordering::SeqCst);
        self.0.growth_fails.store(false, Ordering::SeqCst);
    }

    /// Flushes wait from now on.
    pub fn hold(&self) {
        self.0.gate.lock().shut = true;
    }

    /// Blocks until a flush waits.
    pub fn wait_for_a_flush(&self) {
        let mut gate = self.0.gate.lock();
        while !gate.waiting {
            self.0.moved.wait(&mut gate);
        }
    }

    pub fn release(&self) {
        self.0.gate.lock().shut = false;
        self.0.moved.notify_all();
    }

    pub fn fail_flushes(&self) {
        self.0.flush_fails.store(true, Ordering::SeqCst);
    }

    /// The disk is full.
    pub fn fail_growth(&self) {
        self.0.growth_fails.store(true, Ordering::SeqCst);
    }

    pub fn flushes(&self) -> usize {
        self.0.flushes.load(Ordering::SeqCst)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.hand.0.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.hand.0.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if self.hand.0.growth_fails.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.hand.0.memory.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let Switches { gate, moved, flushes, flush_fails, .. } = &*self.hand.0;
        let mut gate = gate.lock();
        while gate.shut {
            gate.waiting = true;
            moved.notify_all();
            moved.wait(&mut gate);
        }
        gate.waiting = false;
        flushes.fetch_add(1, Ordering::SeqCst);
        if flush_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.hand.0.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.hand.0.memory.write(offset, data)
    }
}
