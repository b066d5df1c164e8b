import Foundation

/// Finds the duplicates among all of a tenant's people, in memory.
package struct DuplicateScan: Sendable {
    /// What to look for and how to go about it.
    package struct Options: Sendable {
        /// Pairs at least this likely are joined into clusters, 0...1.
        package var threshold = 0.5
        /// Pairs less likely than this are forgotten, 0...1; at most `threshold`.
        package var lowBound = 0.1
        /// Random pairs that the fit looks at to learn how strangers agree; fewer make it faster and rougher.
        package var strangerSample = 30_000
        /// Tasks that score at the same time.
        package var parallelism = 2

        /// The defaults.
        package init() {}
    }

    /// How far a scan is and whether to go on; both are called from several tasks.
    package struct Watch: Sendable {
        /// 0...1, never twice the same, not always in order.
        package var progress: @Sendable (Double) -> Void
        /// True makes the scan throw `CancellationError` soon, as cancelling its task does.
        package var isCancelled: @Sendable () -> Bool

        /// Without closures nobody watches.
        package init(
            progress: @escaping @Sendable (Double) -> Void = { _ in },
            isCancelled: @escaping @Sendable () -> Bool = { false }
        ) {
            self.progress = progress
            self.isCancelled = isCancelled
        }

        fileprivate func check() throws {
            if isCancelled() || Task.isCancelled { throw CancellationError() }
        }
    }

    private let profiles: PreparedProfiles
    private let changed: [Bool]?
    private let options: Options
    private let watch: Watch

    /// Pairs counted for the fit at most; more change the estimates in the third digit only.
    private static let fittedPairs = 120_000
    /// Clusters up to this size have all their pairs in the result, larger ones those with their first member.
    private static let fullyPairedCluster = 40

    /// Scans and gives the pairs and persons. Without a `model` one is fitted to these people; with `changed` only
    /// pairs with at least one of those ids are looked at, which takes time in proportion to them (and an index of
    /// everybody). The same input gives the same result on every machine. Throws `CancellationError` only.
    package static func run(
        _ profiles: PreparedProfiles, model: MatchModel? = nil, changed: Set<UUID>? = nil,
        options: Options = Options(), watch: Watch = Watch()
    ) async throws -> ScanResult {
        let flags = changed.map { changed in profiles.ids.map(changed.contains) }
        return try await DuplicateScan(profiles: profiles, changed: flags, options: options, watch: watch).run(model)
    }

    /// The same for raw profiles; folds them first.
    package static func run(
        _ profiles: [MatchProfile], model: MatchModel? = nil, changed: Set<UUID>? = nil,
        options: Options = Options(), watch: Watch = Watch()
    ) async throws -> ScanResult {
        try await run(PreparedProfiles(profiles), model: model, changed: changed, options: options, watch: watch)
    }

    private init(profiles: PreparedProfiles, changed: [Bool]?, options: Options, watch: Watch) {
        self.profiles = profiles
        self.changed = changed
        self.options = options
        self.watch = watch
    }

    private func run(_ given: MatchModel?) async throws -> ScanResult {
        var figures = ScanResult.Figures()
        let clock = ContinuousClock()
        var started = clock.now
        func lap() -> Double {
            let now = clock.now
            defer { started = now }
            return (now - started) / .seconds(1)
        }
        let index = try BlockIndex(profiles, check: watch.check)
        figures.people = profiles.count
        figures.blocks = index.blockCount
        figures.oversizeBlocks = index.oversizeBlocks
        figures.indexSeconds = lap()
        watch.progress(0.1)
        var model = given
        var report: ModelFitter.Report?
        if model == nil { (model, report) = try await fitted(index) }
        figures.fitSeconds = lap()
        watch.progress(0.3)
        let scorer = PairScorer(model ?? .initial, profiles)
        let (links, compared) = try await scored(index, scorer)
        figures.candidatePairs = compared
        figures.scoreSeconds = lap()
        watch.progress(0.9)
        var clustering = PairClustering(thresholdBits: Self.bits(options.threshold), directBits: scorer.bits)
        let clusters = clustering.clusters(of: links)
        let pairs = allPairs(links, clusters, scorer)
        figures.impliedPairs = pairs.count { $0.impliedThrough != nil }
        figures.clusterSeconds = lap()
        watch.progress(1)
        return ScanResult(
            model: model ?? .initial, fit: report, pairs: pairs,
            clusters: clusters.map { $0.map { profiles.ids[$0] } }, figures: figures)
    }

    // MARK: - Fitting

    private func fitted(_ index: BlockIndex) async throws -> (MatchModel, ModelFitter.Report) {
        let comparator = PairComparator(profiles: profiles)
        let samples = try await eachPortion(index, changed: nil) { range in
            var count = 0
            index.forEachPair(in: range, changed: nil) { _, _ in count += 1 }
            return count
        }
        // A pair is in the sample by a hash of its own, so that the sample does not depend on the tasks.
        let step = UInt64(samples.reduce(0, +) / Self.fittedPairs + 1)
        let patterns = try await eachPortion(index, changed: nil) { range in
            var patterns: [AgreementPattern] = []
            index.forEachPair(in: range, changed: nil) { left, right in
                if step > 1 {
                    var hash = FNVHash(seed: UInt64(left))
                    hash.combine(UInt64(right))
                    if hash.value % step != 0 { return }
                }
                patterns.append(comparator.pattern(left, right))
            }
            return patterns
        }
        try watch.check()
        let candidates = PatternCounts(patterns.flatMap(\.self), weight: Double(step))
        let fitter = ModelFitter(candidates: candidates, random: randomPatterns(comparator), people: profiles.count)
        var (model, report) = fitter.fit()
        let fields = model.fields
        model.termFrequencies = TermFrequencies(profiles) { fields[$0.rawValue].u[AgreementLevel.exact.rawValue] }
        return (model, report)
    }

    /// Every pair of a small tenant, else a seeded sample.
    private func randomPatterns(_ comparator: PairComparator) -> PatternCounts {
        let sampled = options.strangerSample
        let people = profiles.count
        var patterns: [AgreementPattern] = []
        if people * (people - 1) / 2 <= sampled {
            for left in 0..<people {
                for right in left + 1..<max(left + 1, people) { patterns.append(comparator.pattern(left, right)) }
            }
        } else {
            var generator = SplitMix64(seed: 1)
            for _ in 0..<sampled {
                let left = Int(generator.next() % UInt64(people))
                let right = Int(generator.next() % UInt64(people))
                if left != right { patterns.append(comparator.pattern(left, right)) }
            }
        }
        return PatternCounts(patterns)
    }

    // MARK: - Scoring

    /// All links above the low bound, each once, and how many pairs were compared.
    private func scored(_ index: BlockIndex, _ scorer: PairScorer) async throws -> ([PairClustering.Link], Int) {
        let lowBits = Self.bits(min(options.lowBound, options.threshold))
        let portions = try await eachPortion(index, changed: changed, progress: 0.3...0.9) { range in
            var links: [PairClustering.Link] = []
            var compared = 0
            index.forEachPair(in: range, changed: changed) { left, right in
                compared += 1
                let bits = scorer.bits(left, right)
                if bits >= lowBits { links.append(.init(left: Int32(left), right: Int32(right), bits: Float(bits))) }
            }
            return (links, compared)
        }
        var links = portions.flatMap(\.0).sorted { ($0.left, $0.right) < ($1.left, $1.right) }
        // Oversize blocks may give a pair twice.
        var kept = 0
        for place in links.indices {
            if kept > 0 && links[kept - 1].left == links[place].left && links[kept - 1].right == links[place].right {
                continue
            }
            links[kept] = links[place]
            kept += 1
        }
        links.removeLast(links.count - kept)
        return (links, portions.reduce(0) { $0 + $1.1 })
    }

    /// Works on portions of the blocks, `parallelism` at a time; results in the portions' order.
    private func eachPortion<Result: Sendable>(
        _ index: BlockIndex, changed: [Bool]?, progress: ClosedRange<Double>? = nil,
        _ work: @escaping @Sendable (Range<Int>) -> Result
    ) async throws -> [Result] {
        let portions = index.portions(pairs: 50_000)
        let watch = watch
        return try await withThrowingTaskGroup(of: (Int, Result).self) { group in
            var results = [Result?](repeating: nil, count: portions.count)
            var next = 0
            func start() {
                if next == portions.count { return }
                let number = next
                let portion = portions[number]
                next += 1
                group.addTask {
                    try watch.check()
                    return (number, work(portion))
                }
            }
            for _ in 0..<max(1, options.parallelism) { start() }
            var done = 0
            while let (number, result) = try await group.next() {
                results[number] = result
                done += 1
                if let progress {
                    let share = Double(done) / Double(portions.count + 1)
                    watch.progress(progress.lowerBound + share * (progress.upperBound - progress.lowerBound))
                }
                start()
            }
            return results.compactMap(\.self)
        }
    }

    // MARK: - Pairs of the result

    /// The links, and the pairs that the clusters imply, highest first.
    private func allPairs(
        _ links: [PairClustering.Link], _ clusters: [[Int]], _ scorer: PairScorer
    ) -> [ScoredPair] {
        var clusterOf: [Int: Int] = [:]
        for (number, cluster) in clusters.enumerated() { for member in cluster { clusterOf[member] = number } }
        var pairs: [(left: Int, right: Int, pair: ScoredPair)] = []
        for link in links {
            let (left, right) = (Int(link.left), Int(link.right))
            let cluster = clusterOf[left].flatMap { $0 == clusterOf[right] ? $0 : nil }
            if let cluster, isFullyPaired(clusters[cluster], left, right) { continue }
            let probability = MatchScore.probability(bits: Double(link.bits))
            pairs.append((left, right, pair(left, right, probability, cluster)))
        }
        for (number, cluster) in clusters.enumerated() {
            for (left, right, implied) in pairsOf(cluster, number, scorer) { pairs.append((left, right, implied)) }
        }
        return pairs.sorted {
            ($1.pair.probability, $0.left, $0.right) < ($0.pair.probability, $1.left, $1.right)
        }.map(\.pair)
    }

    private func isFullyPaired(_ cluster: [Int], _ left: Int, _ right: Int) -> Bool {
        cluster.count <= Self.fullyPairedCluster || left == cluster[0] || right == cluster[0]
    }

    /// All pairs of a cluster, or those with its first member where it is large. A pair that is unlikely by itself is
    /// lifted to what the best third member gives it, and to the threshold at least.
    private func pairsOf(_ cluster: [Int], _ number: Int, _ scorer: PairScorer) -> [(Int, Int, ScoredPair)] {
        let isLarge = cluster.count > Self.fullyPairedCluster
        let intermediates = cluster.prefix(Self.fullyPairedCluster)
        var direct: [Int: Double] = [:]
        func probability(_ one: Int, _ other: Int) -> Double {
            let (left, right) = (min(one, other), max(one, other))
            if let known = direct[left << 32 | right] { return known }
            let computed = MatchScore.probability(bits: scorer.bits(left, right))
            direct[left << 32 | right] = computed
            return computed
        }
        var pairs: [(Int, Int, ScoredPair)] = []
        for (place, left) in cluster.enumerated() where !isLarge || place == 0 {
            for right in cluster[(place + 1)...] {
                if let changed, !changed[left] && !changed[right] { continue }
                let own = probability(left, right)
                var implied = pair(left, right, own, number)
                if own < options.threshold {
                    var best = (probability: -1.0, through: left)
                    for third in intermediates where third != left && third != right {
                        let both = probability(left, third) * probability(third, right)
                        if both > best.probability { best = (both, third) }
                    }
                    implied.probability = max(best.probability, options.threshold)
                    implied.impliedThrough = profiles.ids[best.through]
                }
                pairs.append((left, right, implied))
            }
        }
        return pairs
    }

    private func pair(_ left: Int, _ right: Int, _ probability: Double, _ cluster: Int?) -> ScoredPair {
        ScoredPair(
            first: profiles.ids[left], second: profiles.ids[right], probability: probability,
            directProbability: probability, impliedThrough: nil, cluster: cluster)
    }

    private static func bits(_ probability: Double) -> Double {
        log2(max(1e-12, probability) / max(1e-12, 1 - probability))
    }
}
