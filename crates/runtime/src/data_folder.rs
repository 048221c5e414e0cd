//! The data folder and its files. A folder or file that this module creates is accessible to its
//! owner only, whatever the umask. An existing folder with other files keeps its mode.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Mode of the folder: access for its owner only.
const FOLDER_MODE: u32 = 0o700;
/// Mode of a file: access for its owner only.
const FILE_MODE: u32 = 0o600;
/// The mode bits of group and others.
const OTHERS: u32 = 0o077;
/// Extension of the files of this program. A folder with other files may be a home folder or
/// `/tmp`.
const OWN_EXTENSION: &str = "redb";

/// Folder for mails in the data folder.
pub const OUTBOX: &str = "outbox";

/// Creates `folder` with mode 0700. An existing folder that holds only files of this program gets
/// this mode too. A folder that holds other files, or whose mode cannot be changed, keeps its mode,
/// and a warning is logged.
///
/// # Errors
/// The folder cannot be created or read.
pub fn prepare(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    }
    let mode = fs::metadata(folder)?.mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let is_restricted = holds_only_own_files(folder)?
        && fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).is_ok();
    if !is_restricted {
        let mode = format!("{:04o}", mode & 0o7777);
        let folder = folder.display();
        tracing::warn!(%folder, mode, "the data folder is accessible to other users; change its mode to 0700 (chmod 0700)");
    }
    Ok(())
}

/// Opens a file of the data folder for reading and writing. Creates it with mode 0600 if it does
/// not exist, and sets this mode if group or others have access. A file whose mode cannot be
/// changed is used, and a warning is logged.
///
/// # Errors
/// The file cannot be opened.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)?;
    if file.metadata()?.mode() & OTHERS != 0
        && let Err(error) = file.set_permissions(Permissions::from_mode(FILE_MODE))
    {
        let file = path.display();
        tracing::warn!(%file, %error, "other users can access the file, and its mode cannot be changed; change its mode to 0600");
    }
    Ok(file)
}

/// Returns whether `folder` holds only files of this program, mails and `lost+found`, which some file
/// systems create.
fn holds_only_own_files(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let is_own =
            Path::new(&name).extension().is_some_and(|extension| extension == OWN_EXTENSION);
        if !is_own && name != OUTBOX && name != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("gittix-folder-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("created");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("set");
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("the file exists").mode() & 0o7777
    }

    #[test]
    fn new_folder_and_file_are_accessible_to_their_owner_only() {
        let scratch = Scratch::new("new");
        let folder = scratch.0.join("deeper/data");
        prepare(&folder).expect("created");
        open_file(&folder.join("gittix.redb")).expect("created");
        assert_eq!((mode(&folder), mode(&folder.join("gittix.redb"))), (0o700, 0o600));
    }

    #[test]
    fn existing_folder_with_own_files_only_gets_restricted_modes() {
        let scratch = Scratch::new("own");
        let file = scratch.0.join("sandbox.redb");
        fs::write(&file, "").expect("written");
        fs::create_dir(scratch.0.join(OUTBOX)).expect("created");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set");
        prepare(&scratch.0).expect("prepared");
        open_file(&file).expect("opened");
        assert_eq!((mode(&scratch.0), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn existing_folder_with_other_files_keeps_its_mode() {
        let scratch = Scratch::new("others");
        fs::write(scratch.0.join("letter.txt"), "").expect("written");
        prepare(&scratch.0).expect("prepared");
        assert_eq!(mode(&scratch.0), 0o755);
    }
}
