//! Absent, refused and damaged are three things; what has its final name is whole.

use super::*;

#[test]
fn only_what_is_not_there_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    assert_eq!(read(&path, 9).unwrap(), None);
    fs::write(&path, "text").unwrap();
    assert_eq!(read(&path, 9).unwrap().unwrap(), b"text");
    let message = read(&path.join("below"), 9).unwrap_err().to_string();
    assert!(message.contains("cannot look at") && message.contains("file/below"), "{message}");
    for number in 0..3 {
        let failed = fault::with(number, fault::Fault::from_os(5), || read(&path, 9));
        assert!(matches!(failed, Err(CheckpointError::Io { .. })), "{number}: {failed:?}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, found: &str| {
        let message = read(&dir.path().join(name), 9).unwrap_err().to_string();
        assert!(message.contains(&format!("is {found}, expected a file")), "{message}");
    };
    fs::create_dir(dir.path().join("folder")).unwrap();
    refused("folder", "a folder");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero")).unwrap();
        refused("zero", "a symbolic link");
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        refused("socket", "a pipe, a device or a socket");
    }
    fs::File::create(dir.path().join("long")).unwrap().set_len(40 << 30).unwrap();
    let message = read(&dir.path().join("long"), 9).unwrap_err().to_string();
    assert!(message.contains("more than 9 bytes"), "{message}");
}

#[test]
fn a_file_is_replaced_whole_whichever_operation_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("latest");
    replace_file(&path, "old").unwrap();
    for (number, fault) in [(0, 28), (1, 24), (2, 28), (3, 5), (4, 5)] {
        let fault = fault::Fault::from_os(fault);
        fault::with(number, fault, || replace_file(&path, "new")).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "operation {number}");
        assert_eq!(list(dir.path()).unwrap(), ["latest"], "operation {number}");
    }
    fault::with(2, fault::Fault::Short, || replace_file(&path, "new")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn a_folder_that_is_half_deleted_has_another_name_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("step-000000010");
    let fill = |partial: &Path| {
        write_new(&partial.join("a"), b"a")?;
        write_new(&partial.join("b"), b"b")
    };
    for number in 0.. {
        create_folder(&path, true, fill).unwrap();
        let failed = fault::with(number, fault::Fault::from_os(5), || remove_folder(&path));
        let whole = list(&path).is_ok_and(|names| names.len() == 2);
        assert_eq!(kind(&path).unwrap().is_some(), whole, "operation {number}");
        if failed.is_ok() {
            assert!(number > 6, "{number} operations only");
            break;
        }
        remove_leftovers(dir.path()).unwrap();
        assert!(list(dir.path()).unwrap().iter().all(|name| name == "step-000000010"));
    }
}
