import Redis

extension QueueScripts {
    /// Acknowledges and fetches in one call.
    ///
    /// Arguments: worker, epoch, how many to fetch, the queue's usual cap of a tenant or 0; the number of jobs that were
    /// done, and their ids; the number of their tenants, and (tenant, its jobs among them, ms by which they took longer
    /// than was charged) each; the ids among the done that Redis keeps no list of; then per job that ended otherwise
    /// (tenant, outcome, ms beyond what was charged, due ms, blob), outcome 1 again at due, 2 dead, 3 handed back. Gives
    /// status, milliseconds to the next delayed job or parked tenant or -1, the number of runnable tenants, then the
    /// fetched blobs.
    ///
    /// Who holds what is known by the worker's name, which is new with each lease: a lease that was lost holds nothing,
    /// and what it has to say of its jobs is not heard. Of the done, either all are held, or none; only where Redis went
    /// back to an older state, some.
    static let exchange = RedisScript(
        prelude + isQuiet + """
            local worker, epoch, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
            local held = P .. 'w:' .. worker
            local freed = {}
            shard.cap = tonumber(ARGV[4])
            local function free(tenant, count, owed)
                local s = tenantState(tenant)
                s.running = math.max(0, s.running - count)
                s.owed = s.owed + owed
                touch(tenant)
                freed[tenant] = true
            end

            local done = tonumber(ARGV[5])
            local at = 6 + done
            local tenants = tonumber(ARGV[at])
            if done > 0 then
                local known = redis.call('HMGET', held, unpack(ARGV, 6, 5 + done))
                local isWhole = true
                for i = 1, done do isWhole = isWhole and known[i] end
                -- Those that Redis keeps a list of come first.
                local listed = tonumber(ARGV[at + 3 * tenants + 1])
                if isWhole then
                    redis.call('HDEL', held, unpack(ARGV, 6, 5 + done))
                    for i = at + 1, at + 3 * tenants, 3 do free(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])) end
                    if listed > 0 then
                        redis.call('SREM', P .. 'u', unpack(ARGV, 6, 5 + listed))
                        if redis.call('EXISTS', P .. 'cx') == 1 then
                            redis.call('ZREM', P .. 'cx', unpack(ARGV, 6, 5 + listed))
                        end
                    end
                else
                    for i = 1, done do
                        if known[i] then
                            redis.call('HDEL', held, ARGV[5 + i])
                            free(tenantOf(known[i]), 1, 0)
                            if i <= listed then forget(ARGV[5 + i]) end
                        end
                    end
                end
            end
            for i = at + 3 * tenants + 2, #ARGV, 5 do
                local tenant, outcome, due, blob = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3]), ARGV[i + 4]
                if redis.call('HDEL', held, jobID(blob)) == 1 then
                    free(tenant, 1, tonumber(ARGV[i + 2]))
                    if outcome == 1 and due > now then
                        delay(tenant, blob, due)
                    elseif outcome == 2 then
                        bury(tenant, blob)
                    else
                        put(tenant, blob, outcome == 3)
                    end
                end
            end
            for tenant in pairs(freed) do activate(tenant) end

            if redis.call('EXISTS', P .. 'd') == 1 then
                local due = redis.call('ZRANGE', P .. 'd', '-inf', now, 'BYSCORE', 'LIMIT', 0, 200)
                local ready = {}
                for _, id in ipairs(due) do
                    local tenant, blob = undelay(id)
                    if tenant then
                        put(tenant, blob, false)
                        ready[tenant] = true
                    end
                end
                for tenant in pairs(ready) do activate(tenant) end
            end
            if redis.call('EXISTS', P .. 'park') == 1 then
                local due = redis.call('ZRANGE', P .. 'park', '-inf', now, 'BYSCORE', 'LIMIT', 0, 200)
                for _, id in ipairs(due) do
                    redis.call('ZREM', P .. 'park', id)
                    activate(id)
                end
            end

            local status, blobs = 'OK', {}
            local isResting = wanted > 0 and isQuiet(worker)
            if shard.epoch ~= epoch then
                status = 'EPOCH'
            elseif not redis.call('ZSCORE', P .. 'wk', worker) then
                -- What an unknown worker held, no sweep would ever return.
                status = 'LEASE'
            elseif shard.paused == 1 or isResting then
                status = 'PAUSED'
            elseif wanted > 0 then
                local heap, all, gone, seen = {}, {}, {}, 0
                local function rise()
                    local i, h = #heap, heap[#heap]
                    while i > 1 do
                        local parent = math.floor(i / 2)
                        if heap[parent].at <= h.at then break end
                        heap[i] = heap[parent]
                        i = parent
                    end
                    heap[i] = h
                end
                -- So many more of those in line, whose places there stay as they are until the end. As many as jobs are
                -- wanted are enough as long as each gives one; for who gives none another must come, or those that are
                -- seen already would be served before their turn.
                local function see(count)
                    while count > 0 do
                        local line = redis.call('ZRANGE', P .. 'act', seen, seen + count - 1, 'WITHSCORES')
                        if #line == 0 then return end
                        seen = seen + #line / 2
                        for i = 1, #line, 2 do
                            local h = {id = line[i], at = tonumber(line[i + 1]), s = tenantState(line[i])}
                            if runnable(h.s) and hasToken(h.id, h.s) then
                                heap[#heap + 1] = h
                                all[#all + 1] = h
                                count = count - 1
                                rise()
                            else
                                gone[#gone + 1] = h.id
                            end
                        end
                    end
                end
                see(wanted)
                local function sift()
                    local i, n, h = 1, #heap, heap[1]
                    while true do
                        local child = 2 * i
                        if child > n then break end
                        if child < n and heap[child + 1].at < heap[child].at then child = child + 1 end
                        if heap[child].at >= h.at then break end
                        heap[i] = heap[child]
                        i = child
                    end
                    heap[i] = h
                end
                local hasCancelled = redis.call('EXISTS', P .. 'cx') == 1
                local kept = {}
                while #blobs < wanted and #heap > 0 do
                    local best = heap[1]
                    local s = best.s
                    touch(best.id)
                    local p = s.w[1] > 0 and 0 or s.w[2] > 0 and 1 or 2
                    if not best.taken or best.next > #best.taken then
                        -- What it will be given of this fetch if all go on alike: one call instead of one per job.
                        local part = math.max(1, math.floor((wanted - #blobs) / #heap))
                        best.list = P .. 'r:' .. best.id .. ':' .. p
                        best.taken, best.next = redis.call('LPOP', best.list, math.min(part, s.w[p + 1])) or {}, 1
                    end
                    local blob = best.taken[best.next]
                    local isServed = false
                    best.next = best.next + 1
                    if not blob then
                        s.w[p + 1] = 0
                    else
                        s.w[p + 1] = math.max(0, s.w[p + 1] - 1)
                        local id = jobID(blob)
                        if hasCancelled and redis.call('ZREM', P .. 'cx', id) == 1 then
                            redis.call('SREM', P .. 'u', id)
                        else
                            local cost = struct.unpack('<f', blob, 21)
                            shard.vt = math.max(shard.vt, best.at)
                            best.at = best.at + math.max(0, cost + s.owed) / s.weight
                            s.owed = math.min(0, cost + s.owed)
                            s.finish = best.at
                            s.running = s.running + 1
                            if s.rate > 0 then s.tokens = s.tokens - 1 end
                            kept[#kept + 1] = id
                            kept[#kept + 1] = blob
                            blobs[#blobs + 1] = blob
                            isServed = true
                        end
                    end
                    best.changed = true
                    if runnable(s) and hasToken(best.id, s) then
                        sift()
                    else
                        best.out = true
                        heap[1] = heap[#heap]
                        heap[#heap] = nil
                        if #heap > 0 then sift() end
                    end
                    if not isServed then see(1) end
                end
                if #kept > 0 then redis.call('HSET', held, unpack(kept)) end
                for _, h in ipairs(all) do
                    -- Others were cheaper: the rest goes back to where it was.
                    for i = h.taken and #h.taken or 0, h.next or 1, -1 do redis.call('LPUSH', h.list, h.taken[i]) end
                    if h.out then
                        gone[#gone + 1] = h.id
                    elseif h.changed then
                        redis.call('ZADD', P .. 'act', h.at, h.id)
                    end
                end
                -- In pieces: all of a thousand tenants may have had nothing but cancelled jobs.
                for i = 1, #gone, 1000 do
                    redis.call('ZREM', P .. 'act', unpack(gone, i, math.min(i + 999, #gone)))
                end
            end
            local more = 0
            -- A quiet worker may have heard the bell in the place of one that can run what it rang for.
            if status == 'OK' or isResting and shard.paused == 0 then
                local ready = redis.call('ZCARD', P .. 'act')
                if ready > 0 then ring() end
                if status == 'OK' then more = ready end
            end
            save()
            local first = redis.call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')[2]
            local parked = redis.call('ZRANGE', P .. 'park', 0, 0, 'WITHSCORES')[2]
            local due = math.min(first and tonumber(first) or math.huge, parked and tonumber(parked) or math.huge)
            local reply = {status, due < math.huge and math.max(0, math.ceil(due - now)) or -1, more}
            for i = 1, #blobs do reply[3 + i] = blobs[i] end
            return reply
            """)

    /// Begins a lease. Arguments: worker, lease in ms. To be sent once for each name: what comes twice may come late, and
    /// would bring back a lease that was lost, with nothing of what it held.
    static let register = RedisScript(
        """
        \(clock)
        redis.call('ZADD', KEYS[1] .. 'wk', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2]), ARGV[1])
        return 1
        """)

    /// Makes a lease longer. Arguments: worker, lease in ms. Gives 0 when the lease was lost.
    static let renew = RedisScript(
        """
        \(clock)
        if not redis.call('ZSCORE', KEYS[1] .. 'wk', ARGV[1]) then return 0 end
        redis.call('ZADD', KEYS[1] .. 'wk', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2]), ARGV[1])
        return 1
        """)

    /// Returns dead workers' jobs to the front of their tenants' queues; a crash uses up no attempt, and is counted: a
    /// worker sets aside a job that comes with too many. Worker `ARGV[1]`, when given, is leaving of its own will: its
    /// jobs have not crashed it. Gives the number of jobs returned, and the ids of jobs that worker `ARGV[2]` holds and
    /// that were cancelled.
    ///
    /// A death is counted against every job that was never in one, for there is nobody else to suspect. A job that was
    /// is charged again only when it was the one such job under way: where there were several, they are told to run
    /// alone from then on, and whichever is under way at the next death was the cause.
    static let sweep = RedisScript(
        prelude + """
            local ALONE = 32
            local function crashesOf(blob) return string.byte(blob, 18) end
            local function isAlone(blob) return bit.band(string.byte(blob, 20), ALONE) ~= 0 end
            local function charged(blob)
                return string.sub(blob, 1, 17) .. string.char(math.min(255, crashesOf(blob) + 1)) .. string.sub(blob, 19)
            end
            local function setApart(blob)
                return string.sub(blob, 1, 19) .. string.char(bit.bor(string.byte(blob, 20), ALONE)) .. string.sub(blob, 21)
            end
            local gone = redis.call('ZRANGE', P .. 'wk', '-inf', now, 'BYSCORE', 'LIMIT', 0, 4)
            if ARGV[1] ~= '' then gone = {ARGV[1]} end
            local returned, freed = 0, {}
            for _, worker in ipairs(gone) do
                local held = P .. 'w:' .. worker
                local entries = redis.call('HGETALL', held)
                local underWay = redis.call('HGET', P .. 'al', worker)
                local function isSuspect(blob)
                    return crashesOf(blob) > 0 and (not isAlone(blob) or jobID(blob) == underWay)
                end
                local suspects = 0
                for i = 2, #entries, 2 do
                    if isSuspect(entries[i]) then suspects = suspects + 1 end
                end
                for i = #entries, 1, -2 do
                    local blob = entries[i]
                    local tenant = tenantOf(blob)
                    if ARGV[1] == '' then
                        if crashesOf(blob) == 0 or (suspects == 1 and isSuspect(blob)) then
                            blob = charged(blob)
                        elseif suspects > 1 then
                            blob = setApart(blob)
                        end
                    end
                    local s = tenantState(tenant)
                    if s.running > 0 then s.running = s.running - 1 end
                    put(tenant, blob, true)
                    freed[tenant] = true
                    returned = returned + 1
                end
                redis.call('DEL', held)
                redis.call('HDEL', P .. 'al', worker)
                redis.call('ZREM', P .. 'wk', worker)
            end
            if returned > 0 then
                for tenant in pairs(freed) do activate(tenant) end
                save()
                ring()
            end
            redis.call('ZREMRANGEBYSCORE', P .. 'qt', '-inf', now)
            -- A mark of what was never here any more goes after a day.
            redis.call('ZREMRANGEBYSCORE', P .. 'cx', '-inf', now - 86400000)
            local reply = {returned}
            if redis.call('EXISTS', P .. 'cx') == 1 then
                for _, id in ipairs(redis.call('HKEYS', P .. 'w:' .. ARGV[2])) do
                    if redis.call('ZSCORE', P .. 'cx', id) then reply[#reply + 1] = id end
                end
            end
            return reply
            """)

    /// Notes which of the jobs that run alone a worker with a lease begins now. Arguments: worker, job.
    static let beginAlone = RedisScript(
        prelude + """
            if redis.call('ZSCORE', P .. 'wk', ARGV[1]) then redis.call('HSET', P .. 'al', ARGV[1], ARGV[2]) end
            return 1
            """)
}
