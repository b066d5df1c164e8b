// swift-tools-version: 6.2
import PackageDescription

/// Settings of every target: Swift 6 mode, no warning survives, no implicit `any`.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .treatAllWarnings(as: .error),
]

let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "Metrics", package: "swift-metrics")
let configuration: Target.Dependency = .product(name: "Configuration", package: "swift-configuration")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let coreMetrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let http1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let tracing: Target.Dependency = .product(name: "Tracing", package: "swift-distributed-tracing")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

/// A module of the common house, at `Shared/<name>`.
func shared(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "Shared/\(name)", swiftSettings: strict)
}

/// A C library of Debian's; pkg-config is asked only where its headers lie outside the usual folder.
func library(_ name: String, pkgConfig: String? = nil, apt: String) -> Target {
    .systemLibrary(name: name, path: "Shared/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

/// A domain service: the library `Services/<name>`, its thin executable in `Main/`, and its tests.
/// A fifth service is one more line with this function.
///
/// `modules` are pure parts of the service in folders of its own, each a target that its tests can reach without a
/// server. `folder` is where it lies, when not under its own name; `shared` what it alone needs of the common house.
func service(
    _ name: String, folder: String? = nil, shared: [Target.Dependency] = [], modules: [String] = []
) -> [Target] {
    let path = "Services/\(folder ?? name)"
    return [
        .target(
            name: name,
            dependencies: ["Database", "Tenancy", "Jobs", "Records", "Contracts", "ServiceKit", hummingbird, logging]
                + shared + modules.map { .byName(name: $0) },
            path: path, exclude: ["Main"] + modules, swiftSettings: strict),
        .executableTarget(
            name: "\(name)Main", dependencies: [.byName(name: name), "ServiceKit"],
            path: "\(path)/Main", swiftSettings: strict),
        .testTarget(
            name: "\(name)Tests",
            dependencies: [
                .byName(name: name), "Database", "Tenancy", "Records", "Contracts", "Jobs",
            ],
            path: "Tests/\(name)Tests", swiftSettings: strict),
    ]
        + modules.flatMap { module -> [Target] in
            [
                .target(name: module, path: "\(path)/\(module)", swiftSettings: strict),
                .testTarget(
                    name: "\(module)Tests", dependencies: [.byName(name: module), "SyntheticPeople"],
                    path: "Tests/\(module)Tests", swiftSettings: strict),
            ]
        }
}

let domains = ["Contacts", "Opportunities", "Tickets", "Analytics", "Accounts"]
/// Domains that lie in the folder of a larger thing that they serve.
let folders = ["Accounts": "Console/Accounts"]

let package = Package(
    name: "guanxi",
    platforms: [.macOS(.v15)],
    products: domains.map { .executable(name: $0.lowercased(), targets: ["\($0)Main"]) }
        + [
            .executable(name: "guanxi", targets: ["Operator"]),
            .executable(name: "queue-benchmark", targets: ["QueueBenchmark"]),
        ],
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.7.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
    ],
    targets: [
        library("CLibPQ", pkgConfig: "libpq", apt: "libpq-dev"),
        library("CHiredis", apt: "libhiredis-dev"),
        library("CSodium", apt: "libsodium-dev"),
        library("CCurl", apt: "libcurl4-openssl-dev"),

        shared("ThreadExecutor", []),
        shared("Entropy", []),
        shared("Processes", []),
        shared("Database", ["CLibPQ", "ThreadExecutor", "Entropy", logging]),
        shared("Redis", ["CHiredis", "ThreadExecutor", logging]),
        shared("Tenancy", ["Database", "ThreadExecutor", "Entropy", "CSodium", logging]),
        shared("Spans", ["CCurl", "ThreadExecutor", "Entropy", tracing, logging, lifecycle]),
        shared("Jobs", ["Database", "Redis", "ThreadExecutor", "Spans", tracing, logging, metrics, lifecycle]),
        shared("Records", ["Database", "Tenancy", "Jobs", logging]),
        shared("Contracts", ["Jobs", "Records"]),
        shared("Webhooks", ["CCurl", "CSodium", "ThreadExecutor"]),
        shared(
            "ServiceKit",
            [
                "Database", "Redis", "Tenancy", "Jobs", "Records", "Spans", hummingbird, logging, metrics, coreMetrics,
                tracing, configuration, lifecycle, arguments, httpTypes, nio, http1, system,
            ]),

        .executableTarget(
            name: "Operator",
            dependencies: [
                "Database", "Redis", "Tenancy", "Jobs", "Records", "Contracts", "ServiceKit", "Contacts",
                "Opportunities",
                "Tickets", "Analytics", "Accounts", "Processes", arguments, logging, lifecycle,
            ],
            path: "Services/Operator", swiftSettings: strict),

        .target(
            name: "TestSupport",
            dependencies: [
                "Database", "Redis", "Jobs", "Records", "Tenancy", "ServiceKit", "Contacts", "Opportunities", "Tickets",
                "Analytics", "Accounts", "Processes", logging,
            ],
            path: "Tests/TestSupport", swiftSettings: strict),
        .target(
            name: "SyntheticPeople", dependencies: ["Matching"], path: "Tests/SyntheticPeople", swiftSettings: strict),
        .target(
            name: "HTTPReceiver", dependencies: ["ThreadExecutor"], path: "Tests/HTTPReceiver",
            swiftSettings: strict),
        .executableTarget(
            name: "QueueBenchmark",
            dependencies: ["Database", "Redis", "Tenancy", "Jobs", "Records", arguments, lifecycle, logging],
            path: "Tests/Benchmarks/Queue", swiftSettings: strict),
        .testTarget(
            name: "WebhooksTests", dependencies: ["Webhooks", "HTTPReceiver", "ThreadExecutor", "Processes"],
            path: "Tests/WebhooksTests", swiftSettings: strict),
        .testTarget(
            name: "ProcessesTests", dependencies: ["Processes"], path: "Tests/ProcessesTests", swiftSettings: strict),
        .testTarget(
            name: "SpansTests", dependencies: ["Spans", "HTTPReceiver", tracing, logging, lifecycle],
            path: "Tests/SpansTests", swiftSettings: strict),
        .testTarget(
            name: "JobsTests", dependencies: ["Jobs", "Database", "Redis", logging], path: "Tests/JobsTests",
            swiftSettings: strict),
        // Optimized in debug builds too: ten thousand schedules are some ten million steps.
        .testTarget(
            name: "SimulationTests", dependencies: ["TestSupport", "Jobs", "Database", "Redis"],
            path: "Tests/Simulation", swiftSettings: strict + [.unsafeFlags(["-O"])]),
        .testTarget(
            name: "RecordsTests", dependencies: ["Records", "Database"], path: "Tests/RecordsTests",
            swiftSettings: strict),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "TestSupport", "Database", "Redis", "Jobs", "Tenancy", "Records", "ServiceKit", "Contacts",
                "Opportunities", "Tickets", "Analytics", "Accounts", "Contracts", "Matching", "SyntheticPeople",
                logging,
                lifecycle, "Webhooks", "HTTPReceiver",
            ],
            path: "Tests/IntegrationTests", swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests", dependencies: ["TestSupport", "Records", "Redis", "Database", "HTTPReceiver"],
            path: "Tests/EndToEndTests", swiftSettings: strict),
    ]
        + domains.flatMap {
            service(
                $0, folder: folders[$0], shared: $0 == "Accounts" ? ["Webhooks"] : [],
                modules: $0 == "Contacts" ? ["Matching", "VCard"] : [])
        }
)
