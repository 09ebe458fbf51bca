//! How the two RocksDBs are set, and why.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options};

/// The column family of the log's entries. Apart from the marks, because a key that every batch overwrites would make
/// all files overlap, and each compaction rewrite the whole log.
pub(crate) const ENTRIES: &str = "entries";
/// The column family that every RocksDB has; in the log it holds the marks.
pub(crate) const DEFAULT: &str = "default";

const ENTRIES_BUFFER_BYTES: usize = 64 << 20;
const MARKS_BUFFER_BYTES: usize = 16 << 20;
const LOG_WAL_BYTES_MAX: u64 = 128 << 20;
const LOG_CACHE_BYTES: usize = 16 << 20;
const TABLE_BUFFER_BYTES: usize = 32 << 20;
const TABLES_BUFFERS_BYTES_MAX: usize = 96 << 20;
const TABLES_CACHE_BYTES: usize = 64 << 20;
const FILE_BYTES: u64 = 64 << 20;

/// A file that is written in the background goes to the disk in steps of this. All at once, at its end, it would be in
/// the way of the log's next sync: with it the slowest hundredth of puts took half as long again.
const BYTES_PER_SYNC: u64 = 1 << 20;

fn common() -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_max_open_files(512);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    // One thread writes.
    options.set_allow_concurrent_memtable_write(false);
    // Column families reach the disk together: what is flushed is the state after some batch, not between two.
    options.set_atomic_flush(true);
    options
}

/// The log's database, looked at without a change. Point in time: replay ends at the first damage, wherever it is. That
/// drops what stands behind it without a word, which is only bearable because [`chain`](crate::chain) compares what
/// came back with what the batches say of each other, before anything is changed. The stricter modes would not do:
/// `AbsoluteConsistency` refuses every torn tail, and `TolerateCorruptedTailRecords` the torn tail that has its full
/// length with other bytes in it, which is what a power failure leaves where blocks are written out of order.
pub(crate) fn log_peek() -> Options {
    let mut options = common();
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // The survey of the write-ahead log reads the plain format.
    options.set_recycle_log_file_num(0);
    options
}

/// The log's database.
pub(crate) fn log_open() -> Options {
    let mut options = log_peek();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(LOG_WAL_BYTES_MAX);
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

/// The log's column families.
pub(crate) fn log_families() -> [ColumnFamilyDescriptor; 2] {
    let mut marks = family(MARKS_BUFFER_BYTES);
    marks.set_compression_type(DBCompressionType::None);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_size(32 << 10);
    blocks.set_block_cache(&Cache::new_lru_cache(LOG_CACHE_BYTES));
    let mut entries = family(ENTRIES_BUFFER_BYTES);
    entries.set_block_based_table_factory(&blocks);
    [ColumnFamilyDescriptor::new(DEFAULT, marks), ColumnFamilyDescriptor::new(ENTRIES, entries)]
}

/// The tables' database.
pub(crate) fn tables_open() -> Options {
    let mut options = common();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(TABLES_BUFFERS_BYTES_MAX);
    options
}

/// The tables' column families.
pub(crate) fn table_families<N: AsRef<str>>(names: &[N]) -> Vec<ColumnFamilyDescriptor> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(TABLES_CACHE_BYTES));
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let describe = |name: &N| {
        let mut table = family(TABLE_BUFFER_BYTES);
        table.set_block_based_table_factory(&blocks);
        ColumnFamilyDescriptor::new(name.as_ref(), table)
    };
    names.iter().map(describe).collect()
}

fn family(buffer_bytes: usize) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(buffer_bytes);
    options.set_max_write_buffer_number(4);
    options.set_target_file_size_base(FILE_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}
