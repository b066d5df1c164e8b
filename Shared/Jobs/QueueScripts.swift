import Redis

/// The Lua that runs inside Redis: each operation on a shard is one script, one round trip, on one node.
///
/// Keys of a shard, all after the prefix `gx:{queue/shard}:`, which is the scripts' one key:
/// `T` tenant → packed state, and `#` → the shard's own · `act` runnable tenant → virtual start · `r:<tenant>:<p>` the
/// waiting jobs · `u` known ids · `w:<worker>` what a worker holds · `wk` worker → lease end · `d`, `dj` delayed ·
/// `x`, `xj` dead · `cx` cancelled · `bell` wakes an idle worker.
///
/// Fairness is start-time fair queueing: a fetch serves the tenant with the least virtual start, virtual time moves
/// there, and the tenant's finish is its start plus cost over weight. What a run really took is charged at its tenant's
/// next pick. (Goyal, Vin, Cheng: Start-time Fair Queuing, SIGCOMM 1996.)
enum QueueScripts {
    private static let prelude = """
        local P = KEYS[1]
        local T = P .. 'T'
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local states, dirty, shard = {}, {}, nil
        local unpackRaw = redis.call('HGET', T, '#')
        if unpackRaw then
            local vt, epoch, paused = struct.unpack('<dI4I1', unpackRaw)
            shard = {vt = vt, epoch = epoch, paused = paused}
        else
            shard = {vt = 0, epoch = 0, paused = 0}
        end
        local function tenantState(id)
            local s = states[id]
            if s then return s end
            local raw = redis.call('HGET', T, id)
            if raw then
                local f, n, a, b, c, cap, weight, owed = struct.unpack('<dI4I4I4I4I4dd', raw)
                s = {finish = f, running = n, w = {a, b, c}, cap = cap, weight = weight, owed = owed}
            else
                s = {finish = 0, running = 0, w = {0, 0, 0}, cap = 0, weight = 1, owed = 0}
            end
            states[id] = s
            return s
        end
        -- What a tenant without a cap of its own may have running at once; 0 for any number.
        local usualCap = 0
        local function touch(id) dirty[id] = true end
        local function waiting(s) return s.w[1] + s.w[2] + s.w[3] end
        local function runnable(s)
            local cap = s.cap > 0 and s.cap or usualCap
            return waiting(s) > 0 and (cap == 0 or s.running < cap)
        end
        local function activate(id)
            local s = tenantState(id)
            if runnable(s) then redis.call('ZADD', P .. 'act', 'NX', math.max(shard.vt, s.finish), id) end
        end
        local function ring()
            if redis.call('LLEN', P .. 'bell') < 1 then redis.call('LPUSH', P .. 'bell', '1') end
        end
        local function save()
            redis.call('HSET', T, '#', struct.pack('<dI4I1', shard.vt, shard.epoch, shard.paused))
            for id in pairs(dirty) do
                local s = states[id]
                -- A tenant with nothing here and nothing owed is forgotten: memory follows the work, not history.
                if s.running == 0 and waiting(s) == 0 and s.cap == 0 and s.weight == 1 and s.finish <= shard.vt then
                    redis.call('HDEL', T, id)
                else
                    redis.call('HSET', T, id, struct.pack('<dI4I4I4I4I4dd', s.finish, s.running,
                        s.w[1], s.w[2], s.w[3], s.cap, s.weight, s.owed))
                end
            end
        end
        local function put(tenant, blob, front)
            local p = string.byte(blob, 19)
            redis.call(front and 'LPUSH' or 'RPUSH', P .. 'r:' .. tenant .. ':' .. p, blob)
            local s = tenantState(tenant)
            s.w[p + 1] = s.w[p + 1] + 1
            touch(tenant)
        end
        local function delay(tenant, blob, due)
            local id = string.sub(blob, 1, 16)
            redis.call('ZADD', P .. 'd', due, id)
            redis.call('HSET', P .. 'dj', id, struct.pack('<s', tenant) .. blob)
        end
        local function bury(tenant, blob)
            local id = string.sub(blob, 1, 16)
            redis.call('SREM', P .. 'u', id)
            redis.call('SREM', P .. 'cx', id)
            redis.call('ZADD', P .. 'x', now, id)
            redis.call('HSET', P .. 'xj', id, struct.pack('<s', tenant) .. blob)
            if redis.call('ZCARD', P .. 'x') > 10000 then
                local oldest = redis.call('ZPOPMIN', P .. 'x')
                redis.call('HDEL', P .. 'xj', oldest[1])
            end
        end

        """

    /// Arguments: (tenant, due in ms or 0, blob) each. Gives how many were new; known ids are left alone.
    static let enqueue = RedisScript(
        prelude + """
            local added, woken, touched = 0, false, {}
            local first = redis.call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')[2]
            for i = 1, #ARGV, 3 do
                local tenant, due, blob = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
                if redis.call('SADD', P .. 'u', string.sub(blob, 1, 16)) == 1 then
                    added = added + 1
                    if due > now then
                        delay(tenant, blob, due)
                        if not first or due < tonumber(first) then woken = true end
                    else
                        put(tenant, blob, false)
                        touched[tenant] = true
                    end
                end
            end
            for tenant in pairs(touched) do
                activate(tenant)
                woken = true
            end
            save()
            if woken then ring() end
            return added
            """)

    /// Acknowledges and fetches in one call.
    ///
    /// Arguments: worker, epoch, how many to fetch, the usual cap of a tenant or 0, then per acknowledged job (id, token, outcome, measured ms, due ms,
    /// blob); outcome 0 done, 1 again at due, 2 dead, 3 handed back. Gives status, the lease's token, milliseconds to
    /// the next delayed job or -1, 1 where more is runnable, then the fetched blobs.
    static let exchange = RedisScript(
        prelude + """
            local worker, epoch, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
            local held = P .. 'w:' .. worker
            local freed = {}
            usualCap = tonumber(ARGV[4])
            for i = 5, #ARGV, 6 do
                local id, token, outcome = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
                local measured, due, blob = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5]
                local entry = redis.call('HGET', held, id)
                if entry then
                    local mine, cost, tenant, at = struct.unpack('<sfs', entry)
                    if mine == token then
                        redis.call('HDEL', held, id)
                        local s = tenantState(tenant)
                        if s.running > 0 then s.running = s.running - 1 end
                        s.owed = s.owed + measured - cost
                        touch(tenant)
                        freed[tenant] = true
                        if outcome == 0 then
                            redis.call('SREM', P .. 'u', id)
                            redis.call('SREM', P .. 'cx', id)
                        elseif outcome == 1 then
                            if due > now then delay(tenant, blob, due) else put(tenant, blob, false) end
                        elseif outcome == 2 then
                            bury(tenant, blob)
                        else
                            put(tenant, string.sub(entry, at), true)
                        end
                    end
                end
            end
            for tenant in pairs(freed) do activate(tenant) end

            if redis.call('EXISTS', P .. 'd') == 1 then
                local due = redis.call('ZRANGE', P .. 'd', '-inf', now, 'BYSCORE', 'LIMIT', 0, 200)
                for _, id in ipairs(due) do
                    local entry = redis.call('HGET', P .. 'dj', id)
                    redis.call('ZREM', P .. 'd', id)
                    redis.call('HDEL', P .. 'dj', id)
                    if entry then
                        local tenant, at = struct.unpack('<s', entry)
                        put(tenant, string.sub(entry, at), false)
                        activate(tenant)
                    end
                end
            end

            local status, blobs = 'OK', {}
            local token = ''
            if shard.epoch ~= epoch then
                status = 'EPOCH'
            elseif not redis.call('ZSCORE', P .. 'wk', worker) then
                -- What an unknown worker held, no sweep would ever return.
                status = 'LEASE'
            elseif shard.paused == 1 then
                status = 'PAUSED'
            elseif wanted > 0 then
                local top = redis.call('ZRANGE', P .. 'act', 0, wanted - 1, 'WITHSCORES')
                local heap = {}
                for i = 1, #top, 2 do
                    -- An enqueue knows no usual cap: it may have put forward a tenant that has reached it.
                    if runnable(tenantState(top[i])) then
                        heap[#heap + 1] = {id = top[i], at = tonumber(top[i + 1])}
                    else
                        redis.call('ZREM', P .. 'act', top[i])
                    end
                end
                local hasCancelled = redis.call('EXISTS', P .. 'cx') == 1
                if #heap > 0 then token = tostring(redis.call('INCR', P .. 'seq')) end
                while #blobs < wanted do
                    local best
                    for i = 1, #heap do
                        local h = heap[i]
                        if not h.out and (not best or h.at < best.at) then best = h end
                    end
                    if not best then break end
                    local s = tenantState(best.id)
                    touch(best.id)
                    local p = s.w[1] > 0 and 0 or s.w[2] > 0 and 1 or 2
                    local blob = redis.call('LPOP', P .. 'r:' .. best.id .. ':' .. p)
                    if not blob then
                        s.w[p + 1] = 0
                    else
                        s.w[p + 1] = math.max(0, s.w[p + 1] - 1)
                        local id = string.sub(blob, 1, 16)
                        if hasCancelled and redis.call('SREM', P .. 'cx', id) == 1 then
                            redis.call('SREM', P .. 'u', id)
                        else
                            local cost = struct.unpack('<f', blob, 21)
                            shard.vt = math.max(shard.vt, best.at)
                            best.at = best.at + math.max(0, cost + s.owed) / s.weight
                            s.owed = math.min(0, cost + s.owed)
                            s.finish = best.at
                            s.running = s.running + 1
                            redis.call('HSET', held, id, struct.pack('<sfs', token, cost, best.id) .. blob)
                            blobs[#blobs + 1] = blob
                        end
                    end
                    best.changed = true
                    if not runnable(s) then best.out = true end
                end
                for i = 1, #heap do
                    local h = heap[i]
                    if h.out then
                        redis.call('ZREM', P .. 'act', h.id)
                    elseif h.changed then
                        redis.call('ZADD', P .. 'act', h.at, h.id)
                    end
                end
            end
            local more = 0
            if status == 'OK' and redis.call('EXISTS', P .. 'act') == 1 then
                more = 1
                ring()
            end
            save()
            local first = redis.call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')[2]
            local reply = {status, token, first and math.max(0, math.ceil(tonumber(first) - now)) or -1, more}
            for i = 1, #blobs do reply[4 + i] = blobs[i] end
            return reply
            """)

    /// Arguments: worker, lease in ms, `new` for a first registration. Gives 0 when the lease was lost.
    static let renewSource = """
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        if ARGV[3] ~= 'new' and not redis.call('ZSCORE', KEYS[1] .. 'wk', ARGV[1]) then return 0 end
        redis.call('ZADD', KEYS[1] .. 'wk', now + tonumber(ARGV[2]), ARGV[1])
        return 1
        """

    /// Returns one dead worker's jobs to the front of their tenants' queues; a crash uses up no attempt. Also drops
    /// worker `ARGV[1]` when given, which is leaving. Gives the number of jobs returned, and the ids that were cancelled.
    static let sweep = RedisScript(
        prelude + """
            local gone = redis.call('ZRANGE', P .. 'wk', '-inf', now, 'BYSCORE', 'LIMIT', 0, 4)
            if ARGV[1] ~= '' then gone = {ARGV[1]} end
            local returned = 0
            for _, worker in ipairs(gone) do
                local held = P .. 'w:' .. worker
                local entries = redis.call('HGETALL', held)
                for i = #entries, 1, -2 do
                    local entry = entries[i]
                    local token, cost, tenant, at = struct.unpack('<sfs', entry)
                    local blob = string.sub(entry, at)
                    if ARGV[1] == '' then
                        local crashes = math.min(255, string.byte(blob, 18) + 1)
                        blob = string.sub(blob, 1, 17) .. string.char(crashes) .. string.sub(blob, 19)
                    end
                    local s = tenantState(tenant)
                    if s.running > 0 then s.running = s.running - 1 end
                    put(tenant, blob, true)
                    activate(tenant)
                    returned = returned + 1
                end
                redis.call('DEL', held)
                redis.call('ZREM', P .. 'wk', worker)
            end
            if returned > 0 then
                save()
                ring()
            end
            local reply = {returned}
            for _, id in ipairs(redis.call('SRANDMEMBER', P .. 'cx', 100)) do reply[#reply + 1] = id end
            return reply
            """)

    /// Sets the epoch and gives the one before.
    static let setEpoch = RedisScript(
        prelude + """
            local before = shard.epoch
            shard.epoch = tonumber(ARGV[1])
            save()
            ring()
            return before
            """)

    /// Pauses (1) or resumes (0) fetching.
    static let setPaused = RedisScript(
        prelude + """
            shard.paused = tonumber(ARGV[1])
            save()
            if shard.paused == 0 then ring() end
            return shard.paused
            """)

    /// Sets a tenant's weight and cap on concurrently running jobs (0: none).
    static let setShare = RedisScript(
        prelude + """
            local s = tenantState(ARGV[1])
            s.weight, s.cap = tonumber(ARGV[2]), tonumber(ARGV[3])
            touch(ARGV[1])
            if runnable(s) then activate(ARGV[1]) else redis.call('ZREM', P .. 'act', ARGV[1]) end
            save()
            return 1
            """)

    /// Marks a job as cancelled: dropped when it is next fetched, or cancelled by the worker that runs it.
    static let cancel = RedisScript(
        prelude + """
            local id = ARGV[1]
            if redis.call('SISMEMBER', P .. 'u', id) == 0 then return 0 end
            if redis.call('ZREM', P .. 'd', id) == 1 then
                redis.call('HDEL', P .. 'dj', id)
                redis.call('SREM', P .. 'u', id)
                return 1
            end
            redis.call('SADD', P .. 'cx', id)
            return 1
            """)

    /// Counts: waiting, running, delayed, dead, workers, tenants with work, epoch, paused, ms since the oldest waiting
    /// job was enqueued (over the 200 tenants next in line), known ids.
    static let describe = RedisScript(
        prelude + """
            local waitingJobs, running, tenants = 0, 0, 0
            local cursor = '0'
            repeat
                local page = redis.call('HSCAN', T, cursor, 'COUNT', 500)
                cursor = page[1]
                for i = 1, #page[2], 2 do
                    if page[2][i] ~= '#' then
                        local f, n, a, b, c = struct.unpack('<dI4I4I4I4', page[2][i + 1])
                        waitingJobs = waitingJobs + a + b + c
                        running = running + n
                        if a + b + c + n > 0 then tenants = tenants + 1 end
                    end
                end
            until cursor == '0'
            local oldest = now
            for _, id in ipairs(redis.call('ZRANGE', P .. 'act', 0, 199)) do
                for p = 0, 2 do
                    local blob = redis.call('LINDEX', P .. 'r:' .. id .. ':' .. p, 0)
                    if blob then
                        local at = 0
                        for i = 1, 6 do at = at * 256 + string.byte(blob, i) end
                        oldest = math.min(oldest, at)
                    end
                end
            end
            return {waitingJobs, running, redis.call('ZCARD', P .. 'd'), redis.call('ZCARD', P .. 'x'),
                redis.call('ZCARD', P .. 'wk'), tenants, shard.epoch, shard.paused, math.floor(now - oldest),
                redis.call('SCARD', P .. 'u')}
            """)
}
