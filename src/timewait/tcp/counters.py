"""Counters of one host under the names that `nstat` prints on Linux 6.18.

Each is a plain integer attribute, so that counting is one add on the hot path:
`host.counters.TcpInSegs += 1`. Names that concern no part of this stack (ARP, MPTCP,
UDP-Lite, neighbour discovery) are left out.
"""

from typing import Final

from timewait.base.ints import i64


class Counters:
    """What a kernel counts in /proc/net/snmp, snmp6 and netstat; every counter starts at 0 and only grows."""

    # Ip: RFC 4293, /proc/net/snmp
    IpInReceives: i64 = 0
    IpInHdrErrors: i64 = 0
    IpInAddrErrors: i64 = 0
    IpForwDatagrams: i64 = 0
    IpInUnknownProtos: i64 = 0
    IpInDiscards: i64 = 0
    IpInDelivers: i64 = 0
    IpOutRequests: i64 = 0
    IpOutDiscards: i64 = 0
    IpOutNoRoutes: i64 = 0
    IpReasmTimeout: i64 = 0
    IpReasmReqds: i64 = 0
    IpReasmOKs: i64 = 0
    IpReasmFails: i64 = 0
    IpFragOKs: i64 = 0
    IpFragFails: i64 = 0
    IpFragCreates: i64 = 0
    IpOutTransmits: i64 = 0

    # Icmp: RFC 4293, /proc/net/snmp
    IcmpInMsgs: i64 = 0
    IcmpInErrors: i64 = 0
    IcmpInCsumErrors: i64 = 0
    IcmpInDestUnreachs: i64 = 0
    IcmpInTimeExcds: i64 = 0
    IcmpInParmProbs: i64 = 0
    IcmpInSrcQuenchs: i64 = 0
    IcmpInRedirects: i64 = 0
    IcmpInEchos: i64 = 0
    IcmpInEchoReps: i64 = 0
    IcmpInTimestamps: i64 = 0
    IcmpInTimestampReps: i64 = 0
    IcmpInAddrMasks: i64 = 0
    IcmpInAddrMaskReps: i64 = 0
    IcmpOutMsgs: i64 = 0
    IcmpOutErrors: i64 = 0
    IcmpOutRateLimitGlobal: i64 = 0
    IcmpOutRateLimitHost: i64 = 0
    IcmpOutDestUnreachs: i64 = 0
    IcmpOutTimeExcds: i64 = 0
    IcmpOutParmProbs: i64 = 0
    IcmpOutSrcQuenchs: i64 = 0
    IcmpOutRedirects: i64 = 0
    IcmpOutEchos: i64 = 0
    IcmpOutEchoReps: i64 = 0
    IcmpOutTimestamps: i64 = 0
    IcmpOutTimestampReps: i64 = 0
    IcmpOutAddrMasks: i64 = 0
    IcmpOutAddrMaskReps: i64 = 0

    # Tcp: RFC 4022, /proc/net/snmp (gauges such as CurrEstab are not counters: see Host.rows)
    TcpActiveOpens: i64 = 0
    TcpPassiveOpens: i64 = 0
    TcpAttemptFails: i64 = 0
    TcpEstabResets: i64 = 0
    TcpInSegs: i64 = 0
    TcpOutSegs: i64 = 0
    TcpRetransSegs: i64 = 0
    TcpInErrs: i64 = 0
    TcpOutRsts: i64 = 0
    TcpInCsumErrors: i64 = 0

    # Udp: RFC 4113, /proc/net/snmp
    UdpInDatagrams: i64 = 0
    UdpNoPorts: i64 = 0
    UdpInErrors: i64 = 0
    UdpOutDatagrams: i64 = 0
    UdpRcvbufErrors: i64 = 0
    UdpSndbufErrors: i64 = 0
    UdpInCsumErrors: i64 = 0
    UdpIgnoredMulti: i64 = 0
    UdpMemErrors: i64 = 0

    # Ip6: /proc/net/snmp6
    Ip6InReceives: i64 = 0
    Ip6InHdrErrors: i64 = 0
    Ip6InTooBigErrors: i64 = 0
    Ip6InNoRoutes: i64 = 0
    Ip6InAddrErrors: i64 = 0
    Ip6InUnknownProtos: i64 = 0
    Ip6InTruncatedPkts: i64 = 0
    Ip6InDiscards: i64 = 0
    Ip6InDelivers: i64 = 0
    Ip6OutForwDatagrams: i64 = 0
    Ip6OutRequests: i64 = 0
    Ip6OutDiscards: i64 = 0
    Ip6OutNoRoutes: i64 = 0
    Ip6ReasmTimeout: i64 = 0
    Ip6ReasmReqds: i64 = 0
    Ip6ReasmOKs: i64 = 0
    Ip6ReasmFails: i64 = 0
    Ip6FragOKs: i64 = 0
    Ip6FragFails: i64 = 0
    Ip6FragCreates: i64 = 0
    Ip6InMcastPkts: i64 = 0
    Ip6OutMcastPkts: i64 = 0
    Ip6InOctets: i64 = 0
    Ip6OutOctets: i64 = 0
    Ip6InMcastOctets: i64 = 0
    Ip6OutMcastOctets: i64 = 0
    Ip6InBcastOctets: i64 = 0
    Ip6OutBcastOctets: i64 = 0
    Ip6InNoECTPkts: i64 = 0
    Ip6InECT1Pkts: i64 = 0
    Ip6InECT0Pkts: i64 = 0
    Ip6InCEPkts: i64 = 0
    Ip6OutTransmits: i64 = 0

    # Icmp6: /proc/net/snmp6
    Icmp6InMsgs: i64 = 0
    Icmp6InErrors: i64 = 0
    Icmp6OutMsgs: i64 = 0
    Icmp6OutErrors: i64 = 0
    Icmp6InCsumErrors: i64 = 0
    Icmp6OutRateLimitHost: i64 = 0
    Icmp6InDestUnreachs: i64 = 0
    Icmp6InPktTooBigs: i64 = 0
    Icmp6InTimeExcds: i64 = 0
    Icmp6InParmProblems: i64 = 0
    Icmp6InEchos: i64 = 0
    Icmp6InEchoReplies: i64 = 0
    Icmp6InRedirects: i64 = 0
    Icmp6OutDestUnreachs: i64 = 0
    Icmp6OutPktTooBigs: i64 = 0
    Icmp6OutTimeExcds: i64 = 0
    Icmp6OutParmProblems: i64 = 0
    Icmp6OutEchos: i64 = 0
    Icmp6OutEchoReplies: i64 = 0
    Icmp6OutRedirects: i64 = 0

    # Udp6: /proc/net/snmp6
    Udp6InDatagrams: i64 = 0
    Udp6NoPorts: i64 = 0
    Udp6InErrors: i64 = 0
    Udp6OutDatagrams: i64 = 0
    Udp6RcvbufErrors: i64 = 0
    Udp6SndbufErrors: i64 = 0
    Udp6InCsumErrors: i64 = 0
    Udp6IgnoredMulti: i64 = 0
    Udp6MemErrors: i64 = 0

    # TcpExt: /proc/net/netstat, net/ipv4/proc.c snmp4_net_list
    TcpExtSyncookiesSent: i64 = 0
    TcpExtSyncookiesRecv: i64 = 0
    TcpExtSyncookiesFailed: i64 = 0
    TcpExtEmbryonicRsts: i64 = 0
    TcpExtPruneCalled: i64 = 0
    TcpExtRcvPruned: i64 = 0
    TcpExtOfoPruned: i64 = 0
    TcpExtOutOfWindowIcmps: i64 = 0
    TcpExtLockDroppedIcmps: i64 = 0
    TcpExtTW: i64 = 0
    TcpExtTWRecycled: i64 = 0
    TcpExtTWKilled: i64 = 0
    TcpExtPAWSPassive: i64 = 0
    TcpExtPAWSActive: i64 = 0
    TcpExtPAWSEstab: i64 = 0
    TcpExtBeyondWindow: i64 = 0
    TcpExtTSEcrRejected: i64 = 0
    TcpExtPAWSOldAck: i64 = 0
    TcpExtPAWSTimewait: i64 = 0
    TcpExtDelayedACKs: i64 = 0
    TcpExtDelayedACKLocked: i64 = 0
    TcpExtDelayedACKLost: i64 = 0
    TcpExtListenOverflows: i64 = 0
    TcpExtListenDrops: i64 = 0
    TcpExtTCPHPHits: i64 = 0
    TcpExtTCPPureAcks: i64 = 0
    TcpExtTCPHPAcks: i64 = 0
    TcpExtTCPRenoRecovery: i64 = 0
    TcpExtTCPSackRecovery: i64 = 0
    TcpExtTCPSACKReneging: i64 = 0
    TcpExtTCPSACKReorder: i64 = 0
    TcpExtTCPRenoReorder: i64 = 0
    TcpExtTCPTSReorder: i64 = 0
    TcpExtTCPFullUndo: i64 = 0
    TcpExtTCPPartialUndo: i64 = 0
    TcpExtTCPDSACKUndo: i64 = 0
    TcpExtTCPLossUndo: i64 = 0
    TcpExtTCPLostRetransmit: i64 = 0
    TcpExtTCPRenoFailures: i64 = 0
    TcpExtTCPSackFailures: i64 = 0
    TcpExtTCPLossFailures: i64 = 0
    TcpExtTCPFastRetrans: i64 = 0
    TcpExtTCPSlowStartRetrans: i64 = 0
    TcpExtTCPTimeouts: i64 = 0
    TcpExtTCPLossProbes: i64 = 0
    TcpExtTCPLossProbeRecovery: i64 = 0
    TcpExtTCPRenoRecoveryFail: i64 = 0
    TcpExtTCPSackRecoveryFail: i64 = 0
    TcpExtTCPRcvCollapsed: i64 = 0
    TcpExtTCPBacklogCoalesce: i64 = 0
    TcpExtTCPDSACKOldSent: i64 = 0
    TcpExtTCPDSACKOfoSent: i64 = 0
    TcpExtTCPDSACKRecv: i64 = 0
    TcpExtTCPDSACKOfoRecv: i64 = 0
    TcpExtTCPAbortOnData: i64 = 0
    TcpExtTCPAbortOnClose: i64 = 0
    TcpExtTCPAbortOnMemory: i64 = 0
    TcpExtTCPAbortOnTimeout: i64 = 0
    TcpExtTCPAbortOnLinger: i64 = 0
    TcpExtTCPAbortFailed: i64 = 0
    TcpExtTCPMemoryPressures: i64 = 0
    TcpExtTCPMemoryPressuresChrono: i64 = 0
    TcpExtTCPSACKDiscard: i64 = 0
    TcpExtTCPDSACKIgnoredOld: i64 = 0
    TcpExtTCPDSACKIgnoredNoUndo: i64 = 0
    TcpExtTCPSpuriousRTOs: i64 = 0
    TcpExtTCPMD5NotFound: i64 = 0
    TcpExtTCPMD5Unexpected: i64 = 0
    TcpExtTCPMD5Failure: i64 = 0
    TcpExtTCPSackShifted: i64 = 0
    TcpExtTCPSackMerged: i64 = 0
    TcpExtTCPSackShiftFallback: i64 = 0
    TcpExtTCPBacklogDrop: i64 = 0
    TcpExtPFMemallocDrop: i64 = 0
    TcpExtTCPMinTTLDrop: i64 = 0
    TcpExtTCPDeferAcceptDrop: i64 = 0
    TcpExtIPReversePathFilter: i64 = 0
    TcpExtTCPTimeWaitOverflow: i64 = 0
    TcpExtTCPReqQFullDoCookies: i64 = 0
    TcpExtTCPReqQFullDrop: i64 = 0
    TcpExtTCPRetransFail: i64 = 0
    TcpExtTCPRcvCoalesce: i64 = 0
    TcpExtTCPOFOQueue: i64 = 0
    TcpExtTCPOFODrop: i64 = 0
    TcpExtTCPOFOMerge: i64 = 0
    TcpExtTCPChallengeACK: i64 = 0
    TcpExtTCPSYNChallenge: i64 = 0
    TcpExtTCPFastOpenActive: i64 = 0
    TcpExtTCPFastOpenActiveFail: i64 = 0
    TcpExtTCPFastOpenPassive: i64 = 0
    TcpExtTCPFastOpenPassiveFail: i64 = 0
    TcpExtTCPFastOpenListenOverflow: i64 = 0
    TcpExtTCPFastOpenCookieReqd: i64 = 0
    TcpExtTCPFastOpenBlackhole: i64 = 0
    TcpExtTCPSpuriousRtxHostQueues: i64 = 0
    TcpExtTCPAutoCorking: i64 = 0
    TcpExtTCPFromZeroWindowAdv: i64 = 0
    TcpExtTCPToZeroWindowAdv: i64 = 0
    TcpExtTCPWantZeroWindowAdv: i64 = 0
    TcpExtTCPSynRetrans: i64 = 0
    TcpExtTCPOrigDataSent: i64 = 0
    TcpExtTCPHystartTrainDetect: i64 = 0
    TcpExtTCPHystartTrainCwnd: i64 = 0
    TcpExtTCPHystartDelayDetect: i64 = 0
    TcpExtTCPHystartDelayCwnd: i64 = 0
    TcpExtTCPACKSkippedSynRecv: i64 = 0
    TcpExtTCPACKSkippedPAWS: i64 = 0
    TcpExtTCPACKSkippedSeq: i64 = 0
    TcpExtTCPACKSkippedFinWait2: i64 = 0
    TcpExtTCPACKSkippedTimeWait: i64 = 0
    TcpExtTCPACKSkippedChallenge: i64 = 0
    TcpExtTCPWinProbe: i64 = 0
    TcpExtTCPKeepAlive: i64 = 0
    TcpExtTCPMTUPFail: i64 = 0
    TcpExtTCPMTUPSuccess: i64 = 0
    TcpExtTCPDelivered: i64 = 0
    TcpExtTCPDeliveredCE: i64 = 0
    TcpExtTCPAckCompressed: i64 = 0
    TcpExtTCPZeroWindowDrop: i64 = 0
    TcpExtTCPRcvQDrop: i64 = 0
    TcpExtTCPWqueueTooBig: i64 = 0
    TcpExtTCPFastOpenPassiveAltKey: i64 = 0
    TcpExtTcpTimeoutRehash: i64 = 0
    TcpExtTcpDuplicateDataRehash: i64 = 0
    TcpExtTCPDSACKRecvSegs: i64 = 0
    TcpExtTCPDSACKIgnoredDubious: i64 = 0
    TcpExtTCPMigrateReqSuccess: i64 = 0
    TcpExtTCPMigrateReqFailure: i64 = 0
    TcpExtTCPPLBRehash: i64 = 0
    TcpExtTCPAORequired: i64 = 0
    TcpExtTCPAOBad: i64 = 0
    TcpExtTCPAOKeyNotFound: i64 = 0
    TcpExtTCPAOGood: i64 = 0
    TcpExtTCPAODroppedIcmps: i64 = 0

    # IpExt: /proc/net/netstat, net/ipv4/proc.c snmp4_ipextstats_list
    IpExtInNoRoutes: i64 = 0
    IpExtInTruncatedPkts: i64 = 0
    IpExtInMcastPkts: i64 = 0
    IpExtOutMcastPkts: i64 = 0
    IpExtInBcastPkts: i64 = 0
    IpExtOutBcastPkts: i64 = 0
    IpExtInOctets: i64 = 0
    IpExtOutOctets: i64 = 0
    IpExtInMcastOctets: i64 = 0
    IpExtOutMcastOctets: i64 = 0
    IpExtInBcastOctets: i64 = 0
    IpExtOutBcastOctets: i64 = 0
    IpExtInCsumErrors: i64 = 0
    IpExtInNoECTPkts: i64 = 0
    IpExtInECT1Pkts: i64 = 0
    IpExtInECT0Pkts: i64 = 0
    IpExtInCEPkts: i64 = 0
    IpExtReasmOverlaps: i64 = 0

    def as_dict(self, nonzero: bool = True) -> dict[str, int]:
        """Counters by name in nstat's order; those that are 0 only with nonzero=False."""
        found: dict[str, int] = {}
        for name in NAMES:
            value: int = getattr(self, name)
            if value or not nonzero:
                found[name] = value
        return found

    def since(self, earlier: dict[str, int]) -> dict[str, int]:
        """What grew since `earlier = counters.as_dict()`, as `nstat` shows it when called again."""
        grown: dict[str, int] = {}
        for name, value in self.as_dict().items():
            if value != earlier.get(name, 0):
                grown[name] = value - earlier.get(name, 0)
        return grown


_LISTED: Final = """
    IpInReceives IpInHdrErrors IpInAddrErrors IpForwDatagrams IpInUnknownProtos IpInDiscards IpInDelivers
    IpOutRequests IpOutDiscards IpOutNoRoutes IpReasmTimeout IpReasmReqds IpReasmOKs IpReasmFails IpFragOKs
    IpFragFails IpFragCreates IpOutTransmits IcmpInMsgs IcmpInErrors IcmpInCsumErrors IcmpInDestUnreachs
    IcmpInTimeExcds IcmpInParmProbs IcmpInSrcQuenchs IcmpInRedirects IcmpInEchos IcmpInEchoReps IcmpInTimestamps
    IcmpInTimestampReps IcmpInAddrMasks IcmpInAddrMaskReps IcmpOutMsgs IcmpOutErrors IcmpOutRateLimitGlobal
    IcmpOutRateLimitHost IcmpOutDestUnreachs IcmpOutTimeExcds IcmpOutParmProbs IcmpOutSrcQuenchs
    IcmpOutRedirects IcmpOutEchos IcmpOutEchoReps IcmpOutTimestamps IcmpOutTimestampReps IcmpOutAddrMasks
    IcmpOutAddrMaskReps TcpActiveOpens TcpPassiveOpens TcpAttemptFails TcpEstabResets TcpInSegs TcpOutSegs
    TcpRetransSegs TcpInErrs TcpOutRsts TcpInCsumErrors UdpInDatagrams UdpNoPorts UdpInErrors UdpOutDatagrams
    UdpRcvbufErrors UdpSndbufErrors UdpInCsumErrors UdpIgnoredMulti UdpMemErrors Ip6InReceives Ip6InHdrErrors
    Ip6InTooBigErrors Ip6InNoRoutes Ip6InAddrErrors Ip6InUnknownProtos Ip6InTruncatedPkts Ip6InDiscards
    Ip6InDelivers Ip6OutForwDatagrams Ip6OutRequests Ip6OutDiscards Ip6OutNoRoutes Ip6ReasmTimeout Ip6ReasmReqds
    Ip6ReasmOKs Ip6ReasmFails Ip6FragOKs Ip6FragFails Ip6FragCreates Ip6InMcastPkts Ip6OutMcastPkts Ip6InOctets
    Ip6OutOctets Ip6InMcastOctets Ip6OutMcastOctets Ip6InBcastOctets Ip6OutBcastOctets Ip6InNoECTPkts
    Ip6InECT1Pkts Ip6InECT0Pkts Ip6InCEPkts Ip6OutTransmits Icmp6InMsgs Icmp6InErrors Icmp6OutMsgs
    Icmp6OutErrors Icmp6InCsumErrors Icmp6OutRateLimitHost Icmp6InDestUnreachs Icmp6InPktTooBigs
    Icmp6InTimeExcds Icmp6InParmProblems Icmp6InEchos Icmp6InEchoReplies Icmp6InRedirects Icmp6OutDestUnreachs
    Icmp6OutPktTooBigs Icmp6OutTimeExcds Icmp6OutParmProblems Icmp6OutEchos Icmp6OutEchoReplies
    Icmp6OutRedirects Udp6InDatagrams Udp6NoPorts Udp6InErrors Udp6OutDatagrams Udp6RcvbufErrors
    Udp6SndbufErrors Udp6InCsumErrors Udp6IgnoredMulti Udp6MemErrors TcpExtSyncookiesSent TcpExtSyncookiesRecv
    TcpExtSyncookiesFailed TcpExtEmbryonicRsts TcpExtPruneCalled TcpExtRcvPruned TcpExtOfoPruned
    TcpExtOutOfWindowIcmps TcpExtLockDroppedIcmps TcpExtTW TcpExtTWRecycled TcpExtTWKilled TcpExtPAWSActive
    TcpExtPAWSEstab TcpExtBeyondWindow TcpExtTSEcrRejected TcpExtPAWSOldAck TcpExtPAWSTimewait TcpExtDelayedACKs
    TcpExtDelayedACKLocked TcpExtDelayedACKLost TcpExtListenOverflows TcpExtListenDrops TcpExtTCPHPHits
    TcpExtTCPPureAcks TcpExtTCPHPAcks TcpExtTCPRenoRecovery TcpExtTCPSackRecovery TcpExtTCPSACKReneging
    TcpExtTCPSACKReorder TcpExtTCPRenoReorder TcpExtTCPTSReorder TcpExtTCPFullUndo TcpExtTCPPartialUndo
    TcpExtTCPDSACKUndo TcpExtTCPLossUndo TcpExtTCPLostRetransmit TcpExtTCPRenoFailures TcpExtTCPSackFailures
    TcpExtTCPLossFailures TcpExtTCPFastRetrans TcpExtTCPSlowStartRetrans TcpExtTCPTimeouts TcpExtTCPLossProbes
    TcpExtTCPLossProbeRecovery TcpExtTCPRenoRecoveryFail TcpExtTCPSackRecoveryFail TcpExtTCPRcvCollapsed
    TcpExtTCPBacklogCoalesce TcpExtTCPDSACKOldSent TcpExtTCPDSACKOfoSent TcpExtTCPDSACKRecv
    TcpExtTCPDSACKOfoRecv TcpExtTCPAbortOnData TcpExtTCPAbortOnClose TcpExtTCPAbortOnMemory
    TcpExtTCPAbortOnTimeout TcpExtTCPAbortOnLinger TcpExtTCPAbortFailed TcpExtTCPMemoryPressures
    TcpExtTCPMemoryPressuresChrono TcpExtTCPSACKDiscard TcpExtTCPDSACKIgnoredOld TcpExtTCPDSACKIgnoredNoUndo
    TcpExtTCPSpuriousRTOs TcpExtTCPMD5NotFound TcpExtTCPMD5Unexpected TcpExtTCPMD5Failure TcpExtTCPSackShifted
    TcpExtTCPSackMerged TcpExtTCPSackShiftFallback TcpExtTCPBacklogDrop TcpExtPFMemallocDrop TcpExtTCPMinTTLDrop
    TcpExtTCPDeferAcceptDrop TcpExtIPReversePathFilter TcpExtTCPTimeWaitOverflow TcpExtTCPReqQFullDoCookies
    TcpExtTCPReqQFullDrop TcpExtTCPRetransFail TcpExtTCPRcvCoalesce TcpExtTCPOFOQueue TcpExtTCPOFODrop
    TcpExtTCPOFOMerge TcpExtTCPChallengeACK TcpExtTCPSYNChallenge TcpExtTCPFastOpenActive
    TcpExtTCPFastOpenActiveFail TcpExtTCPFastOpenPassive TcpExtTCPFastOpenPassiveFail
    TcpExtTCPFastOpenListenOverflow TcpExtTCPFastOpenCookieReqd TcpExtTCPFastOpenBlackhole
    TcpExtTCPSpuriousRtxHostQueues TcpExtTCPAutoCorking TcpExtTCPFromZeroWindowAdv TcpExtTCPToZeroWindowAdv
    TcpExtTCPWantZeroWindowAdv TcpExtTCPSynRetrans TcpExtTCPOrigDataSent TcpExtTCPHystartTrainDetect
    TcpExtTCPHystartTrainCwnd TcpExtTCPHystartDelayDetect TcpExtTCPHystartDelayCwnd TcpExtTCPACKSkippedSynRecv
    TcpExtTCPACKSkippedPAWS TcpExtTCPACKSkippedSeq TcpExtTCPACKSkippedFinWait2 TcpExtTCPACKSkippedTimeWait
    TcpExtTCPACKSkippedChallenge TcpExtTCPWinProbe TcpExtTCPKeepAlive TcpExtTCPMTUPFail TcpExtTCPMTUPSuccess
    TcpExtTCPDelivered TcpExtTCPDeliveredCE TcpExtTCPAckCompressed TcpExtTCPZeroWindowDrop TcpExtTCPRcvQDrop
    TcpExtTCPWqueueTooBig TcpExtTCPFastOpenPassiveAltKey TcpExtTcpTimeoutRehash TcpExtTcpDuplicateDataRehash
    TcpExtTCPDSACKRecvSegs TcpExtTCPDSACKIgnoredDubious TcpExtTCPMigrateReqSuccess TcpExtTCPMigrateReqFailure
    TcpExtTCPPLBRehash TcpExtTCPAORequired TcpExtTCPAOBad TcpExtTCPAOKeyNotFound TcpExtTCPAOGood
    TcpExtTCPAODroppedIcmps IpExtInNoRoutes IpExtInTruncatedPkts IpExtInMcastPkts IpExtOutMcastPkts
    IpExtInBcastPkts IpExtOutBcastPkts IpExtInOctets IpExtOutOctets IpExtInMcastOctets IpExtOutMcastOctets
    IpExtInBcastOctets IpExtOutBcastOctets IpExtInCsumErrors IpExtInNoECTPkts IpExtInECT1Pkts IpExtInECT0Pkts
    IpExtInCEPkts IpExtReasmOverlaps
"""

NAMES: Final[tuple[str, ...]] = tuple(_LISTED.split())
"""All counters, in nstat's order."""
