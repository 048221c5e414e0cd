//! The embedded store in its two forms: in memory, where a commit runs on the caller's thread, and
//! on the disk, where commits share transactions.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use gittix::store::{Inspect, embedded::EmbeddedStore};

pub async fn in_memory<T: Future<Output = ()> + Send + 'static>(
    _name: &str,
    test: impl FnOnce(Arc<dyn Inspect>) -> T,
) {
    test(EmbeddedStore::in_memory().expect("a store in memory")).await;
}

pub async fn on_disk<T: Future<Output = ()> + Send + 'static>(
    name: &str,
    test: impl FnOnce(Arc<dyn Inspect>) -> T,
) {
    let folder = Folder::new(name);
    test(EmbeddedStore::open(folder.path()).expect("a store in a new folder")).await;
}

/// A temporary folder that is deleted when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("gittix-suite-{}-{name}", process::id()));
        fs::create_dir_all(&path).expect("the system's folder for temporary files is writable");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A failure only leaves a temporary folder behind.
        let _ = fs::remove_dir_all(&self.0);
    }
}
