import Database
import Foundation
import Jobs
import Records
import Tenancy

/// A group of contacts: a list that people keep, or a filter that a job keeps up with.
enum Segment {
    static let type = RecordType(
        "segment", plural: "segments", schema: "contacts", label: Label("Segment", "客户分群"),
        fields: [
            Field("name", .text(max: 200), Label("Name", "名称")).required().sortable().searchable(),
            Field("description", .text(max: 2_000, multiline: true), Label("Description", "说明")),
            Field("kind", .choice(["static", "filter"]), Label("Kind", "类型")).required().immutable(),
            Field("filter", .condition(on: "contact"), Label("Filter", "筛选条件")),
            Field("member_count", .integer(min: 0, max: .max), Label("Members", "成员数")).derived().byDefault(0),
            Field("refreshed_at", .timestamp, Label("Refreshed at", "刷新时间")).derived(),
            Field("state", .choice(["ready", "broken"]), Label("State", "状态")).derived().byDefault("ready"),
            Field("broken_because", .text(max: 1_000), Label("Broken because", "失效原因")).derived(),
        ],
        // A file comes in by a job, which knows nothing of what its owner may ask about.
        operations: [.create, .update, .delete], title: "name",
        rules: RecordRules(prepare: prepare, effects: effects))

    private static func prepare(_ draft: inout Draft) throws {
        if draft["kind"] == "static", draft["filter"] != nil {
            throw Problem(
                409, "static_segment", "A static segment has no filter.",
                fields: [FieldError("/filter", "static_segment", "A static segment has no filter.")])
        }
        guard draft.isCreation || draft.changes("filter") else { return }
        do throws(Problem) { try require(draft["filter"], draft.defaults, draft.reach) } catch {
            if error.status == 403 { throw error }
            throw FieldError("/filter", "invalid_filter", error.detail)
        }
    }

    /// SQL for the segment's filter on rows `r` of contacts, with its parameters behind those of `builder`. Without a
    /// filter it is everybody. Throws for one that can't be asked any more: a field may be gone.
    static func condition(
        of segment: Record, _ defaults: TenantDefaults, now: Date = Date(), _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        guard let json = segment.json("filter") else { return "true" }
        return try FilterCompiler(catalogue: contactsService.catalogue, defaults: defaults, now: now)
            .sql(try Filter.parse(json), type: Contact.type, &builder)
    }

    /// Throws 403 where a segment's filter asks about what the bearer must not know: who its members are would tell.
    static func require(_ filter: String?, _ context: WriteContext) throws(Problem) {
        do throws(Problem) { try require(filter, context.defaults, FilterReach(context)) } catch {
            // One that can't be asked any more asks nothing.
            if error.status == 403 { throw error }
        }
    }

    /// Throws 403 as well where it is out of `reach`, and 400 for a filter that can't be asked at all.
    private static func require(
        _ filter: String?, _ defaults: TenantDefaults, _ reach: FilterReach?
    ) throws(Problem) {
        guard let json = filter.flatMap({ try? JSONParser.parse($0.utf8) }) else { return }
        var builder = SQLBuilder([.int(0)])
        _ = try FilterCompiler(catalogue: contactsService.catalogue, defaults: defaults, reach: reach)
            .sql(try Filter.parse(json), type: Contact.type, &builder)
    }

    private static func effects(_ change: Change) throws -> Effects {
        guard change.after.deletedAt == nil, change.after.text("kind") == "filter",
            change.kind != .update || change.changes("filter")
        else { return Effects() }
        return Effects(jobs: [try PendingJob(RefreshSegmentJob(segment: change.after.id))])
    }
}

/// Brings a segment's members up to date with its filter.
struct RefreshSegmentJob: Job {
    static let name = "contacts.refresh-segment"
    static let options = JobOptions.long
    let segment: UUID
}

/// Starts a refresh of each of the tenant's segments, some hundred at a time.
struct RefreshSegmentsJob: Job {
    static let name = "contacts.refresh-segments"
    /// Where the one before left off.
    var after: UUID?
}
