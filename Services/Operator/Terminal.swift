import ArgumentParser
import Foundation
import Jobs
import Tenancy

#if canImport(Glibc)
    import Glibc
#endif

extension OperatorSession {
    /// Every service's queues, with the owner's rights.
    var queues: QueueOperator {
        QueueOperator(queues: services.flatMap(\.queues), database: owner, redis: redis, logger: logger)
    }
}

/// Opens a session, runs `body`, and tells what the operator got wrong as wrong usage.
func operating(_ body: (OperatorSession) async throws -> Void) async throws {
    let session = try await OperatorSession()
    defer { session.close() }
    do { try await body(session) } catch let refusal as OperatorRefusal
        where refusal.code.hasPrefix("unknown_") || refusal.code.hasPrefix("invalid_")
    {
        throw WrongCall(refusal.description)
    }
}

/// Runs `body` once, or, when it is watched, each second on a cleared screen until it is interrupted.
func watching(_ isWatched: Bool, _ body: () async throws -> Void) async throws {
    repeat {
        if isWatched && isatty(STDOUT_FILENO) == 1 { print("\u{1B}[H\u{1B}[2J", terminator: "") }
        try await body()
        if isWatched {
            fflush(nil)
            try await Task.sleep(for: .seconds(1))
        }
    } while isWatched
}

/// What asks before something is done that can't be taken back.
struct Consent: ParsableArguments {
    @Flag(help: "Do it without asking.") var yes = false

    /// Asks on a terminal; where nobody can be asked, only --yes will do.
    func confirm(_ question: String) throws {
        if yes { return }
        guard isatty(STDIN_FILENO) == 1 else { throw WrongCall("\(question)? Say --yes where nobody can be asked.") }
        print("\(question)? [y/N] ", terminator: "")
        fflush(nil)
        guard let answer = readLine()?.lowercased(), answer == "y" || answer == "yes" else {
            print("nothing was done")
            throw ExitCode(1)
        }
    }
}

/// A value as operators' programs read it.
func printOperatorJSON(_ value: some Encodable) throws {
    print(String(decoding: try OperatorJSON.encode(value, pretty: true), as: UTF8.self))
}

/// A job's id, as it is typed.
func jobID(_ text: String) throws -> UUID {
    guard let id = UUID(uuidString: text) else { throw WrongCall("\(text) is no id") }
    return id
}

/// A time, or how long ago: `2026-01-31T12:00:00Z`, `90s`, `30m`, `2h`, `7d`.
func moment(_ text: String?) throws -> Date? {
    guard let text else { return nil }
    let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
    if let unit = text.last.flatMap({ units[$0] }), let number = Double(text.dropLast()), number >= 0 {
        return Date(timeIntervalSinceNow: -number * unit)
    }
    guard let date = try? Date(text, strategy: .iso8601) else {
        throw WrongCall("\(text) is no time: write 2026-01-31T12:00:00Z, or 30m, 2h, 7d for as long ago")
    }
    return date
}

/// Seconds as people read them; a hyphen where there are none.
func secondsText(_ seconds: Double?) -> String { seconds.map(JobDiagnosis.text) ?? "-" }

/// A rate as people read it.
func rateText(_ rate: Double) -> String { String(format: rate < 10 ? "%.1f/s" : "%.0f/s", rate) }
