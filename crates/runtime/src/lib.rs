//! Modules that every layer with I/O uses.
//!
//! | module | contents |
//! | --- | --- |
//! | [`clock`] | the time by which rules are decided; follows the store's time |
//! | [`settings`] | secrets and durations as values of settings |
//! | [`tasks`] | supervision: the handling of panics in tasks and threads |
//! | [`metrics`] | all metrics of the process |
//! | [`http_client`] | the builder of every HTTP client |
//! | [`data_folder`] | the data folder; files and folders that it creates are accessible to their owner only |

pub mod clock;
pub mod data_folder;
pub mod http_client;
pub mod metrics;
pub mod settings;
pub mod tasks;
