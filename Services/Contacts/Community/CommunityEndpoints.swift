import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// What people do with a community's posts besides writing them: vote, and accept an answer.
struct CommunityEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [vote, accept] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]

    // MARK: Votes

    private var vote: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "required": ["value"], "additionalProperties": false,
                "properties": [
                    "value": ["type": "integer", "enum": [-1, 0, 1], "description": "0 takes the vote back."],
                    "contact_id": [
                        "type": ["string", "null"], "format": "uuid", "description": "For whom, instead of the bearer.",
                    ],
                ],
            ]
            $0.response = [
                "type": "object", "required": ["id", "votes", "value"],
                "properties": ["id": Self.id, "votes": ["type": "integer"], "value": ["type": "integer"]],
            ]
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/community_posts/{id}/vote", "Vote for or against a post; the last vote of each voter counts",
            documentation: documentation
        ) { request in
            try request.allow([])
            let vote = try Vote(try await request.json())
            let id = try request.id()
            let context = request.context
            _ = try context.scope(of: .create, on: CommunityPost.type)
            let scope = try context.scope(of: .read, on: CommunityPost.type)
            let result = try await store.writing(CommunityPost.type, dryRun: false, context) { transaction in
                // Its lock makes votes of one post count one after the other.
                let post = try await store.found(CommunityPost.type, id, scope, context, in: transaction)
                let voter = try await voter(vote, post, context, transaction)
                let votes = try await count(vote.value, by: voter, on: post, transaction)
                let body: JSONValue = [
                    "id": .string(id.lowercased), "votes": JSONValue(votes), "value": JSONValue(vote.value),
                ]
                return WriteResult(status: 200, id: id, version: nil, body: body.encodedBytes)
            }
            return EndpointResponse(result, to: request)
        }
    }

    /// Who votes: the contact that is named, the user, or the key. Nobody votes for their own words.
    private func voter(
        _ vote: Vote, _ post: Record, _ context: WriteContext, _ transaction: TenantTransaction
    ) async throws -> String {
        if let contact = vote.contact {
            guard try context.scope(of: .read, on: Contact.type) == .all else { throw Problem.forbidden }
            let known = try await transaction.query(
                "select 1 from contacts.contact where tenant_id = $1 and id = $2 and deleted_at is null",
                [transaction.tenant.parameter, .uuid(contact)])
            if known.isEmpty {
                throw Problem(
                    409, "no_such_record", "The contact does not exist.",
                    fields: [FieldError("/contact_id", "no_such_record", "There is no such contact.")])
            }
            if post.uuid("contact_id") == contact { throw Self.ownPost }
            return "contact:\(contact.lowercased)"
        }
        if let user = context.user {
            if post.uuid("contact_id") == nil && post.uuid("author_id") == user { throw Self.ownPost }
            return "user:\(user.lowercased)"
        }
        return context.actor
    }

    private static let ownPost = Problem(409, "own_post", "Nobody votes for their own post.")

    private func count(
        _ value: Int, by voter: String, on post: Record, _ transaction: TenantTransaction
    ) async throws -> Int {
        let place: [Parameter] = [transaction.tenant.parameter, .uuid(post.id), .text(voter)]
        let cast =
            value == 0
            ? Statement(
                "delete from contacts.community_vote where tenant_id = $1 and post_id = $2 and voter = $3", place)
            : Statement(
                """
                insert into contacts.community_vote (tenant_id, post_id, voter, value) values ($1, $2, $3, $4)
                on conflict (tenant_id, post_id, voter) do update set value = excluded.value, voted_at = now()
                """, place + [.int(value)])
        let sum = Statement(
            """
            update contacts.community_post set votes = (
                select coalesce(sum(value), 0) from contacts.community_vote where tenant_id = $1 and post_id = $2)
            where tenant_id = $1 and id = $2 returning votes
            """, [transaction.tenant.parameter, .uuid(post.id)])
        return try await transaction.batch([cast, sum])[1].int(0, 0) ?? 0
    }

    private struct Vote: Sendable {
        let value: Int
        let contact: UUID?

        init(_ body: JSONValue) throws(Problem) {
            guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
            var errors: [FieldError] = []
            for name in members.keys.sorted() where !["value", "contact_id"].contains(name) {
                errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
            }
            let value = members["value"]?.int
            if value == nil || !(-1...1).contains(value!) {
                errors.append(FieldError("/value", "not_a_choice", "1, -1, or 0 to take the vote back."))
            }
            var contact: UUID?
            if let given = members["contact_id"], given != .null {
                contact = given.text.flatMap(UUID.init(uuidString:))
                if contact == nil { errors.append(FieldError("/contact_id", "not_an_id", "The id of a contact.")) }
            }
            if !errors.isEmpty { throw .invalid(errors) }
            self.value = value!
            self.contact = contact
        }
    }

    // MARK: The accepted answer

    private var accept: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "required": ["post_id"], "additionalProperties": false,
                "properties": [
                    "post_id": ["type": ["string", "null"], "format": "uuid", "description": "null takes it back."]
                ],
            ]
            $0.response = RecordDocumentation.record
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/community_topics/{id}/accepted_answer",
            "Say which post answers a topic, as its author or as staff",
            documentation: documentation
        ) { request in
            try request.allow([])
            let post = try Self.post(try await request.json())
            let id = try request.id()
            let context = request.context
            let result = try await store.writing(CommunityTopic.type, dryRun: false, context) { transaction in
                let topic = try await store.found(
                    CommunityTopic.type, id, try context.scope(of: .read, on: CommunityTopic.type), context,
                    in: transaction)
                let isAuthor = context.user != nil && topic.uuid("author_id") == context.user
                if !isAuthor {
                    _ = try await store.found(
                        CommunityTopic.type, id, try context.scope(of: .update, on: CommunityTopic.type), context,
                        in: transaction)
                }
                let after = try await set(post, on: topic, context, transaction)
                return WriteResult(
                    status: 200, id: id, version: after.version, body: context.json(after, CommunityTopic.type))
            }
            return EndpointResponse(result, to: request)
        }
    }

    private func set(
        _ post: UUID?, on topic: Record, _ context: WriteContext, _ transaction: TenantTransaction
    ) async throws -> Record {
        if let post {
            let known = try await transaction.query(
                """
                select 1 from contacts.community_post
                where tenant_id = $1 and id = $2 and topic_id = $3 and deleted_at is null for update
                """, [transaction.tenant.parameter, .uuid(post), .uuid(topic.id)])
            if known.isEmpty {
                throw Problem(
                    409, "no_such_record", "The topic has no such post.",
                    fields: [FieldError("/post_id", "no_such_record", "There is no such post on the topic.")])
            }
        }
        transaction.later(
            Statement(
                """
                update contacts.community_post set is_accepted = (id is not distinct from $3::uuid)
                where tenant_id = $1 and topic_id = $2 and is_accepted is distinct from (id is not distinct from $3::uuid)
                """,
                [
                    transaction.tenant.parameter, .uuid(topic.id), post.map(Parameter.uuid) ?? .null,
                ]))
        return try await store.change(
            CommunityTopic.type, topic, setting: ["accepted_post_id": [post?.lowercased]], context, in: transaction)
    }

    private static func post(_ body: JSONValue) throws(Problem) -> UUID? {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        for name in members.keys.sorted() where name != "post_id" {
            throw .invalid("/\(name)", "unknown_field", "There is no such field.")
        }
        guard let given = members["post_id"] else { throw .invalid("/post_id", "required", "A post's id, or null.") }
        if given == .null { return nil }
        guard let id = given.text.flatMap(UUID.init(uuidString:)) else {
            throw .invalid("/post_id", "not_an_id", "The id of a post belongs here.")
        }
        return id
    }
}
