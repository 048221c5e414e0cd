//! The data folder and its files: readable by their owner alone, whatever the umask.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Mode of the folder: its owner's.
const FOLDER_MODE: u32 = 0o700;
/// Mode of a file in it: its owner's.
const FILE_MODE: u32 = 0o600;
/// What group and others may do.
const OTHERS: u32 = 0o077;
/// How our files end. A folder with other files may be a home folder or `/tmp`.
const OWN_EXTENSION: &str = "redb";

/// Makes `folder` (0700), or takes access away from group and others if it holds nothing but our files. A folder that holds
/// other files, or is not ours to change, is left as it is, with a line in the log.
///
/// # Errors
/// The folder cannot be made or read.
pub fn prepare(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    }
    let mode = fs::metadata(folder)?.mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let is_tightened = holds_only_own_files(folder)? && fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).is_ok();
    if !is_tightened {
        let mode = format!("{:04o}", mode & 0o7777);
        tracing::warn!(folder = %folder.display(), mode, "the data folder is open to other users; chmod it to 0700");
    }
    Ok(())
}

/// Opens a file of the data folder for reading and writing. What is not there yet is made (0600); the mode of what is there is
/// set to the same.
///
/// # Errors
/// It cannot be opened.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    if file.metadata()?.mode() & OTHERS != 0
        && let Err(error) = file.set_permissions(Permissions::from_mode(FILE_MODE))
    {
        tracing::warn!(file = %path.display(), %error, "the file is open to other users, and its mode cannot be changed");
    }
    Ok(file)
}

/// Whether there is nothing in `folder` but files of ours, and what a file system puts there by itself.
fn holds_only_own_files(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let is_own = Path::new(&name).extension().is_some_and(|extension| extension == OWN_EXTENSION);
        if !is_own && name != "lost+found" {
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
            let path = std::env::temp_dir().join(format!("gittix-folder-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("made");
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
        fs::metadata(path).expect("it is there").mode() & 0o7777
    }

    #[test]
    fn new_folder_and_file_belong_to_their_owner_alone() {
        let scratch = Scratch::new("new");
        let folder = scratch.0.join("deeper/data");
        prepare(&folder).expect("made");
        open_file(&folder.join("gittix.redb")).expect("made");
        assert_eq!((mode(&folder), mode(&folder.join("gittix.redb"))), (0o700, 0o600));
    }

    #[test]
    fn existing_folder_with_only_own_files_is_tightened_and_so_are_they() {
        let scratch = Scratch::new("own");
        let file = scratch.0.join("sandbox.redb");
        fs::write(&file, "").expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set");
        prepare(&scratch.0).expect("prepared");
        open_file(&file).expect("opened");
        assert_eq!((mode(&scratch.0), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn existing_folder_with_other_files_is_left_as_it_is() {
        let scratch = Scratch::new("others");
        fs::write(scratch.0.join("letter.txt"), "").expect("written");
        prepare(&scratch.0).expect("prepared");
        assert_eq!(mode(&scratch.0), 0o755);
    }
}
