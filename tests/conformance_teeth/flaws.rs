//! The violations of the contract that the suite must find.

macro_rules! flaws {
    ($($flaw:ident)*) => {
        /// One way to break the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Flaw { $($flaw),* }
        pub(crate) const FLAWS: &[Flaw] = &[$(Flaw::$flaw),*];
    };
}

flaws! {
    LoadReturnsExpired LoadIsInclusive
    PutTakesTakenKey PutReplacesForward PutIsBlockedByExpired PutIgnoresVersion PutUpserts PutRevivesExpired
    PutTakesForwardForRecord PutLosesForward PutKeepsExpired PutIsTwoSteps
    PutKeepsOwner
    CreateUpserts CreateReplacesForward CreateIsBlockedByExpired CreateIsBlockedByExpiredForward CreateIsTwoSteps
    UpdateUpserts UpdateRevivesExpired UpdateEndsEarly UpdateIgnoresVersion UpdateAcceptsLaterVersion
    UpdateHidesConflict UpdateReturnsWrongRecord UpdateKeepsDeadline UpdateKeepsPrincipal UpdateReplacesForward
    UpdateIsTwoSteps UpdateReachesOthers
    TouchUpserts TouchRevivesExpired TouchIgnoresVersion TouchMovesBackwards TouchMovesBothOrNone TouchCountsAsWrite
    TouchDoesNothing TouchMovesForward TouchIsTwoSteps TouchAlwaysSucceeds TouchHidesConflict TouchHidesForward
    RenewUpserts RenewRevivesExpired RenewIgnoresVersion RenewReplacesForward RenewRetiresFirst RenewCopies
    RenewLosesForward RenewLosesSuccessor RenewTakesZerosForNone RenewKeepsDeadline RenewKeepsVersion RenewIsTwoSteps
    RenewMovesForwards
    DeleteDoesNothing DeleteHidesForward DeleteRemovesForward DeleteReturnsExpiredForward DeleteChecksVersion
    DeleteFollowsForward DeleteLeavesSomething DeleteCountsExpired DeleteAlwaysSucceeds DeleteIsTwoSteps
    DeleteLosesForward DeleteReplacesForward DeleteMarksExpired DeleteMarksNothing
    SweepDoesNothing SweepRemovesLive SweepIsLate SweepIgnoresLimit SweepFindsSomethingAlways SweepMissesForwards SweepHitsForwards
    SweepFailsBesideAnother
    KeysFoldCase KeysEndAtZero KeysLosePadding KeysAreLossyText KeysLoseHighBits
    PrincipalIsCut PrincipalIsAscii EmptyPrincipalIsNone NoValuesAreNull ValuesAreCut ValuesAreRewritten
    LabelIsLost LabelIsCut EmptyLabelIsNone
    GenerationIsLost GenerationIsRounded UpdateKeepsGeneration RenewKeepsGeneration ListDropsGeneration
    LifetimeIsThirtyDays DeadlineOverflows TimesAreSeconds
    PrincipalsFoldCase PrincipalsLosePadding PrincipalsEndAtZero PrincipalsAreLong PrincipalsArePatterns
    NobodyIsAnError NobodyIsEmpty
    ListShowsExpired ListMissesRenewed ListDropsLabel ListIsUnordered ListIsSigned ListIsShort ListIsTwoSteps
    PagesAreInclusive PagesHaveOneMore PagesOfNoneHaveAll CountIsOfExpired CountIsOfForwards
    IndexMissesUpdate IndexMissesTouch IndexMissesLogin IndexKeepsDeleted IndexKeepsReplaced IndexTakesRefused
    RevokeMissesRenewed RevokeIgnoresPrincipal RevokeIgnoresHandles RevokeEndsExpired RevokeReturnsAsked RevokeHides
    RevokeChecksVersion RevokeIsTwoSteps RevokeCountsTwice RevokeLosesForward
}
