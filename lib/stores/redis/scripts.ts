import type { Script } from './client.ts'

/**
 * Sets a value, whose first 4 bytes are its number. ARGV: the value, the number that must be there as 4 bytes (empty: any), the
 * time to live in milliseconds (0: none). Answers the new number, or what is there when that has another one.
 *
 * Numbers are microseconds of the server's clock, so that they need no key of their own and are others after a deletion. The
 * key is read once more at the end: after a write of its own Redis would not tell this client of changes by others.
 */
export const SET: Script = {
  name: 'wasmSharedSet',
  lua: `
    local old = redis.call('GET', KEYS[1])
    local current = old and string.sub(old, 1, 4)
    if old and ARGV[2] ~= '' and current ~= ARGV[2] then return {0, old} end
    local time = redis.call('TIME')
    local number = (time[1] * 1000000 + time[2]) % 4294967296
    if current and #current == 4 then
      local last = struct.unpack('<I4', current)
      local ahead = (number - last) % 4294967296
      if ahead == 0 or ahead > 2147483648 then number = (last + 1) % 4294967296 end
    end
    if number == 0 then number = 1 end
    local bytes = struct.pack('<I4', number)
    if ARGV[3] == '0' then
      redis.call('SET', KEYS[1], bytes .. ARGV[1])
    else
      redis.call('SET', KEYS[1], bytes .. ARGV[1], 'PX', ARGV[3])
    end
    redis.call('STRLEN', KEYS[1])
    return {1, bytes}`
}

// Queues are streams with one group: an item that was taken stays until it is acknowledged, and can be taken again when it
// is not for a while.

/** ARGV: the item, the channel of the queue, how many items there may be. Answers 0 when there is no room. */
export const ENQUEUE: Script = {
  name: 'wasmQueuePut',
  lua: `
    local length = redis.call('XLEN', KEYS[1])
    if length >= tonumber(ARGV[3]) then return 0 end
    redis.call('XADD', KEYS[1], '*', 'item', ARGV[1])
    -- Now: a Redis that is full would not take it, and never be emptied.
    if length == 0 and #redis.call('XINFO', 'GROUPS', KEYS[1]) == 0 then
      redis.call('XGROUP', 'CREATE', KEYS[1], 'filters', '0')
    end
    redis.call('PUBLISH', ARGV[2], '')
    return 1`
}

/** ARGV: after how many milliseconds an item that was not acknowledged is taken again. Answers its id and the item, or nothing. */
export const DEQUEUE: Script = {
  name: 'wasmQueueTake',
  lua: `
    local created = redis.pcall('XAUTOCLAIM', KEYS[1], 'filters', 'gateways', ARGV[1], '0-0', 'COUNT', 1)
    if created.err then
      if not string.find(created.err, 'NOGROUP', 1, true) then return created end
      redis.call('XGROUP', 'CREATE', KEYS[1], 'filters', '0', 'MKSTREAM')
    elseif created[2][1] and created[2][1][2] then
      return {created[2][1][1], created[2][1][2][2]}
    end
    local read = redis.call('XREADGROUP', 'GROUP', 'filters', 'gateways', 'COUNT', 1, 'STREAMS', KEYS[1], '>')
    if not read then return false end
    local entry = read[1][2][1]
    return {entry[1], entry[2][2]}`
}

/** ARGV: ids of items that are done. */
export const ACKNOWLEDGE: Script = {
  name: 'wasmQueueDone',
  lua: `
    redis.pcall('XACK', KEYS[1], 'filters', unpack(ARGV))
    return redis.call('XDEL', KEYS[1], unpack(ARGV))`
}

/** ARGV: as of DEQUEUE. Answers how many items may be taken that nobody has, and how many again. */
export const COUNT: Script = {
  name: 'wasmQueueCount',
  lua: `
    local pending = redis.pcall('XPENDING', KEYS[1], 'filters')
    if pending.err then return {redis.call('XLEN', KEYS[1]), 0} end
    local left = redis.call('XPENDING', KEYS[1], 'filters', 'IDLE', ARGV[1], '-', '+', 1000)
    return {redis.call('XLEN', KEYS[1]) - pending[1], #left}`
}

/** Names a queue. ARGV: its id, its name. Answers 0 when the id is another one's. */
export const REGISTER: Script = {
  name: 'wasmQueueName',
  lua: `
    local name = redis.call('HGET', KEYS[1], ARGV[1])
    if name then return name == ARGV[2] and 1 or 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    return 1`
}

/** Holds a lease, or goes on to. ARGV: who, milliseconds. Answers whether it has it. */
export const HOLD: Script = {
  name: 'wasmLeaseHold',
  lua: `
    local holder = redis.call('GET', KEYS[1])
    if holder and holder ~= ARGV[1] then return 0 end
    -- Also a Redis that is full takes this.
    if holder then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1`
}

/** Gives a lease up. ARGV: who. */
export const RELEASE: Script = {
  name: 'wasmLeaseRelease',
  lua: `
    if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end`
}

// Objects are texts: two numbers, when it was made and changed, and its JSON. The log has the names of those that changed, each
// under the number of its change. The revision is the number of the last change, and a token that no other change has: where Redis
// has lost changes, numbers come again, and revisions do not.

/**
 * ARGV: the revision that is known (empty: there is none), the name of an object, its JSON (empty: it is deleted), the number of
 * its last change (0: it is not there), the channel, a token. Answers when it was made and changed, and the revision; nothing
 * when something has changed; 0 when the object has, and the revision has not: somebody else has written it.
 */
export const WRITE_RESOURCE: Script = {
  name: 'wasmResourceWrite',
  lua: `
    local known = redis.call('GET', KEYS[1] .. ':revision') or ''
    if known ~= ARGV[1] then return false end
    local old = redis.call('HGET', KEYS[1] .. ':objects', ARGV[2])
    local created, modified
    if old then created, modified = string.match(old, '^(%d+) (%d+) ') end
    if tonumber(modified or 0) ~= tonumber(ARGV[4]) then return 0 end
    local number = (string.match(known, '^(%d+) ') or 0) + 1
    created = tonumber(created or number)
    if ARGV[3] == '' then
      redis.call('HDEL', KEYS[1] .. ':objects', ARGV[2])
    else
      redis.call('HSET', KEYS[1] .. ':objects', ARGV[2], created .. ' ' .. number .. ' ' .. ARGV[3])
    end
    local revision = number .. ' ' .. ARGV[6]
    if number == 1 then redis.call('DEL', KEYS[1] .. ':log') end
    redis.call('SET', KEYS[1] .. ':revision', revision)
    redis.call('XADD', KEYS[1] .. ':log', 'MAXLEN', '~', 10000, number .. '-1', 'name', ARGV[2], 'token', ARGV[6])
    redis.call('PUBLISH', ARGV[5], revision)
    return {created, number, revision}`
}

/**
 * ARGV: the revision that is known, or anything that is none. Answers the one that there is; whether what follows is
 * everything; names and objects, or nothing for one that is not there any more.
 */
export const READ_RESOURCES: Script = {
  name: 'wasmResourcesRead',
  lua: `
    local revision = redis.call('GET', KEYS[1] .. ':revision') or ''
    if ARGV[1] == revision then return {revision, 0, {}} end
    local number = string.match(revision, '^(%d+) ')
    local known, token = string.match(ARGV[1], '^(%d+) (.+)$')
    local entries = {}
    if number and known then entries = redis.call('XRANGE', KEYS[1] .. ':log', known .. '-0', '+') end
    -- The first one is what is known, unless that was lost.
    local first = table.remove(entries, 1)
    if not first or first[2][4] ~= token or #entries ~= number - known then
      return {revision, 1, redis.call('HGETALL', KEYS[1] .. ':objects')}
    end
    local changed, seen = {}, {}
    for _, entry in ipairs(entries) do
      local name = entry[2][2]
      if not seen[name] then
        seen[name] = true
        changed[#changed + 1] = name
        changed[#changed + 1] = redis.call('HGET', KEYS[1] .. ':objects', name)
      end
    end
    return {revision, 0, changed}`
}
