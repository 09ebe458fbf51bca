//! Bugs that are planted on purpose, each of which has broken a real system: the simulator must find every one, or it
//! proves nothing about the code without them.
//!
//! ```text
//!   feature off  is_planted(_) = false, a constant: nothing of a plant is left in the binary
//!   feature on   plant(bug) ──▶ is_planted(bug) in this thread, until the guard goes
//!                refuse_planted_bugs!() ──▶ the crates that ship do not compile
//! ```
//!
//! A plant is a condition where the code would go right: `if sound || is_planted(Bug::X)`. It is the thread that is
//! sick and not the value: engines stay plain values, and a simulated world lives on one thread.

/// Defines [`Bug`], whose words are its documentation.
macro_rules! bugs {
    ($($(#[doc = $words:literal])+ $bug:ident,)+) => {
        /// What may be planted. The documentation of each says what the code then does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $($(#[doc = $words])+ $bug,)+
        }

        impl Bug {
            /// Every one of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$bug),+];

            /// What the code does wrong.
            pub fn description(self) -> &'static str {
                match self {
                    $(Bug::$bug => concat!($($words),+).trim_start(),)+
                }
            }
        }
    };
}

bugs! {
    /// A vote or a promise leaves before the write that holds it is durable.
    VoteBeforeDurable,
    /// A candidate asks for votes or promises before its own ballot is durable.
    CampaignBeforeDurable,
    /// A candidate's own ballot is never written: after a restart it uses the same one again.
    OwnBallotNotWritten,
    /// The vote is not written along with the term.
    VoteNotWritten,
    /// A follower acknowledges entries before they are durable.
    AcceptBeforeDurable,
    /// A leader counts its own copy before it is durable.
    OwnCopyBeforeDurable,
    /// A completed write is known by the index and ballot of its last entry: while such an entry stands, all up to it is
    /// taken for durable.
    DurableByIndexAndBallot,
    /// Accepting under a higher ballot does not raise the promise.
    AcceptLeavesPromise,
    /// A vote or promise of an earlier epoch is counted for the present one.
    StaleVoteCounted,
    /// Votes go to candidates whose log is out of date.
    ElectionRestrictionDropped,
    /// An entry of an earlier term is committed by counting its copies.
    OldEntriesCounted,
    /// The entries behind a conflicting one are not removed.
    ConflictSuffixKept,
    /// A follower takes the leader's commit index beyond what it knows to match.
    CommitBeyondVerified,
    /// A commit watermark is taken for slots that were accepted under another ballot.
    WatermarkOfOtherBallot,
    /// A promise counts before its last page has come.
    PromiseCountedEarly,
    /// A new leader re-proposes the value of the lowest ballot that was reported for a slot.
    LowestBallotReproposed,
    /// A new leader proposes its own values where others were accepted.
    AcceptedValuesIgnored,
    /// A new leader leaves the holes out, and what was accepted behind them moves down.
    HolesSkipped,
    /// A new leader does not catch up with what others know to be chosen before it leads.
    LeadsBeforeCaughtUp,
    /// A deposed leader tells its clients that what it had appended was not carried out.
    OpenEntriesRefused,
    /// A forwarded proposal that the network doubles is admitted twice.
    CopiesAdmitted,
    /// A read is served without a quorum round.
    ReadWithoutRound,
    /// A read joins the quorum round that is already under way.
    ReadJoinsEarlierRound,
    /// A new leader serves reads before an entry of its own epoch is committed.
    ReadBeforeOwnEpoch,
    /// A reply to a read round of an earlier epoch is counted for the present one.
    EarlierEpochsRoundCounted,
    /// A read is served before the tables have applied its index.
    ReadBeforeApplied,
    /// A leader's lease lasts an election timeout from the arrival of the answer, with no margin for the clocks.
    LeaseWithoutMargin,
    /// A leader serves reads under a lease without a look at the clock.
    LeaseSurvivesPause,
    /// A voter that restarted has forgotten what it pledged, and votes at once.
    LeaseForgottenByRestart,
    /// A voter votes in a forced election though it has pledged not to.
    ForcedElectionIgnoresLease,
    /// A new leader serves reads under its lease before an entry of its own epoch is committed.
    LeaseReadBeforeOwnEpoch,
    /// A quorum is asked what it knows to be chosen, and not what it has accepted.
    QuorumReadOfChosenOnly,
    /// The applied index is written after the data, not with it.
    AppliedIndexNotAtomic,
    /// After a restart the last applied entry is applied again.
    AppliedAgainAfterRestart,
    /// A sync that failed is taken for one that succeeded.
    FailedSyncIgnored,
    /// A damaged record is taken for the torn end of the log, and cut off with all that follows.
    DamageTakenForTornEnd,
    /// Records that follow a gap at the end of the log are taken back.
    TailGapSkipped,
    /// A node whose disk was wiped is admitted under its old id, though it has forgotten what it promised.
    WipedDiskAdmitted,
    /// What was sent and lost is never sent again.
    LossNeverNoticed,
    /// A leader that hears no quorum does not step down.
    LeaderNeverStepsDown,
    /// Voters that hear a leader help to depose it.
    LiveLeaderDeposed,
    /// A refused pre-vote teaches the asker no higher term.
    RefusalTeachesNothing,
    /// The log is compacted one entry too far.
    CompactedTooFar,
    /// The log is trimmed past what the tables have persisted.
    TrimmedPastPersisted,
    /// A snapshot lacks its membership.
    SnapshotLacksMembership,
    /// An installation is not atomic: a crash leaves tables of two times.
    InstallationNotAtomic,
    /// The log is not trimmed after an installation.
    LogKeptByInstallation,
    /// An installation drops what was accepted above it.
    InstallationDropsAccepts,
    /// An installation forgets in memory what was accepted above it, which the disk still holds.
    InstallationForgetsAccepts,
    /// An installation keeps the entries behind another one than the snapshot's last.
    InstallationKeepsSuffix,
    /// An installation drops the entries behind the snapshot's last one.
    InstallationDropsSuffix,
    /// A change of members is in force at another moment than the protocol says: in Raft once it is committed, in
    /// Multi-Paxos right behind its slot.
    MembersInForceAtWrongMoment,
    /// A leader acts on a change of members before its own epoch allows it: in Raft it changes them before an entry of its
    /// term is committed, in Multi-Paxos it proposes in slots of new members before a quorum of them has promised.
    OwnEpochBarrierMissing,
    /// A learner's copy or vote counts toward a quorum.
    LearnerCounted,
    /// While the members change, the old ones alone decide on what the new ones have a say in.
    OldMembersDecideAlone,
    /// A read's round is counted among members that have no say where it reads, so one that was removed may make it up.
    ReadCountedAmongOthers,
    /// A void change of members is carried out.
    VoidChangeTaken,
    /// What sessions remember is left out of a snapshot: behind it a retry is carried out again.
    DedupLeftOutOfSnapshot,
    /// The reply to a request is recorded before what the request does, and not with it.
    ReplyCachedBeforeApply,
    /// A request is carried out though its session has ended.
    ExpiredSessionsRetryExecuted,
}

/// Whether this bug is planted in the present thread. Never, in a build without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub use planting::{Planted, is_planted, plant};

#[cfg(feature = "planted-bugs")]
mod planting {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted in the present thread.
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug in the present thread for as long as the guard lives. One at a time: a second one takes the place of
    /// the first until its own guard goes.
    pub fn plant(bug: Bug) -> Planted {
        Planted { before: PLANTED.replace(Some(bug)), not_send: PhantomData }
    }

    /// A planted bug; it is gone when this is.
    #[derive(Debug)]
    #[must_use = "the bug is planted only as long as this lives"]
    pub struct Planted {
        before: Option<Bug>,
        // To be dropped where it was made.
        not_send: PhantomData<*const ()>,
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(self.before);
        }
    }
}

/// Refuses to compile a crate that ships with [`planted`](crate::planted) bugs. To be invoked once, beside its imports.
///
/// ```compile_fail
/// consensus_api::refuse_planted_bugs!();
/// ```
#[cfg(feature = "planted-bugs")]
#[macro_export]
macro_rules! refuse_planted_bugs {
    () => {
        compile_error!(
            "this crate ships, and the feature `planted-bugs` of consensus-api breaks it on purpose: build it without, \
             and the simulator by itself (cargo nextest run --release -p simulator --features planted-bugs)"
        );
    };
}

/// Refuses to compile a crate that ships with [`planted`](crate::planted) bugs, of which this build has none. To be
/// invoked once, beside its imports.
///
/// ```
/// consensus_api::refuse_planted_bugs!();
/// ```
#[cfg(not(feature = "planted-bugs"))]
#[macro_export]
macro_rules! refuse_planted_bugs {
    () => {};
}
