-- SMTPStatus version 0 for Wireshark and tshark (docs/protocol.md).
--
-- Copy it into the personal plugin folder (Help, About, Folders), or: tshark -X lua_script:smtpstatus.lua
-- The UDP port is a preference; 7030 is the default. Request and response are linked as DNS's are.

local smtpstatus = Proto("smtpstatus", "SMTPStatus")

local COMMANDS = {
  [0] = "historic connections",
  [1] = "concurrent connections",
  [2] = "bytes transferred",
  [3] = "state of the transforms",
  [4] = "turn the transforms on",
  [5] = "turn the transforms off",
}
local STATUSES = {
  [0] = "done",
  [1] = "authentication failed",
  [2] = "invalid version",
  [3] = "invalid command",
  [4] = "invalid request (wrong size)",
  [5] = "unexpected failure of the server",
}
local SIGNATURE = 0xcffe
local LENGTH = 14

local f = {
  signature = ProtoField.uint16("smtpstatus.signature", "Signature", base.HEX),
  version = ProtoField.uint8("smtpstatus.version", "Version", base.DEC),
  id = ProtoField.uint16("smtpstatus.id", "Request ID", base.HEX),
  auth = ProtoField.bytes("smtpstatus.auth", "Token", base.NONE),
  command = ProtoField.uint8("smtpstatus.command", "Command", base.HEX, COMMANDS),
  status = ProtoField.uint8("smtpstatus.status", "Status", base.HEX, STATUSES),
  result = ProtoField.bytes("smtpstatus.result", "Result", base.NONE),
  number = ProtoField.uint64("smtpstatus.number", "Number", base.DEC),
  enabled = ProtoField.bool("smtpstatus.enabled", "Transforms on"),
  response_in = ProtoField.framenum("smtpstatus.response_in", "Response in", base.NONE, frametype.RESPONSE),
  response_to = ProtoField.framenum("smtpstatus.response_to", "Response to", base.NONE, frametype.REQUEST),
  time = ProtoField.relative_time("smtpstatus.time", "Time since the request"),
}
smtpstatus.fields = f

local e = {
  length = ProtoExpert.new("smtpstatus.length.invalid", "Wrong size",
    expert.group.MALFORMED, expert.severity.ERROR),
  signature = ProtoExpert.new("smtpstatus.signature.invalid", "Foreign signature",
    expert.group.MALFORMED, expert.severity.ERROR),
  version = ProtoExpert.new("smtpstatus.version.invalid", "Unknown version",
    expert.group.PROTOCOL, expert.severity.WARN),
  command = ProtoExpert.new("smtpstatus.command.invalid", "Unknown command",
    expert.group.PROTOCOL, expert.severity.WARN),
  status = ProtoExpert.new("smtpstatus.status.reserved", "Reserved status",
    expert.group.PROTOCOL, expert.severity.WARN),
  failed = ProtoExpert.new("smtpstatus.status.failed", "The server said no",
    expert.group.RESPONSE_CODE, expert.severity.NOTE),
  result = ProtoExpert.new("smtpstatus.result.invalid", "A result that makes no sense",
    expert.group.PROTOCOL, expert.severity.WARN),
  unasked = ProtoExpert.new("smtpstatus.response.unasked", "No request seen",
    expert.group.SEQUENCE, expert.severity.WARN),
  again = ProtoExpert.new("smtpstatus.request.again", "Sent again",
    expert.group.SEQUENCE, expert.severity.NOTE),
}
smtpstatus.experts = { e.length, e.signature, e.version, e.command, e.status, e.failed, e.result, e.unasked, e.again }

smtpstatus.prefs.port = Pref.uint("UDP port", 7030, "The port of SMTPStatus servers")

-- State from the first pass over a capture, by frame number; later passes visit frames in any order.
local pending = {}   -- client and RID: the latest request
local requests = {}  -- frame of a request: { time, command, response, first }
local responses = {} -- frame of a response: the frame of its request

function smtpstatus.init()
  pending, requests, responses = {}, {}, {}
end

-- Identifies a query by client, server and RID: requests are sent to the server's port, responses from it.
local function key(pinfo, id, is_request)
  local client, server = pinfo.src, pinfo.dst
  local client_port, server_port = pinfo.src_port, pinfo.dst_port
  if not is_request then
    client, server, client_port, server_port = server, client, server_port, client_port
  end
  return string.format("%s %d %s %d %d", tostring(client), client_port, tostring(server), server_port, id)
end

local function learn_request(pinfo, id, command)
  local where = key(pinfo, id, true)
  local before = pending[where]
  local again = before and requests[before].command == command and not requests[before].response
  requests[pinfo.number] = {
    time = pinfo.rel_ts, command = command, first = again and (requests[before].first or before) or nil,
  }
  pending[where] = pinfo.number
end

local function learn_response(pinfo, id)
  local request = pending[key(pinfo, id, false)]
  if request then
    responses[pinfo.number] = request
    requests[request].response = requests[request].response or pinfo.number
  end
end

local function dissect_request(buffer, pinfo, tree)
  tree:add(f.auth, buffer(5, 8))
  local code = buffer(13, 1):uint()
  local item = tree:add(f.command, buffer(13, 1))
  if not COMMANDS[code] then
    item:add_proto_expert_info(e.command)
  end
  if not pinfo.visited then
    learn_request(pinfo, buffer(3, 2):uint(), code)
  end
  local known = requests[pinfo.number]
  if known and known.response then
    tree:add(f.response_in, known.response):set_generated()
  end
  if known and known.first then
    tree:add_proto_expert_info(e.again)
  end
  return string.format("Request 0x%04x, %s", buffer(3, 2):uint(), COMMANDS[code] or "unknown command")
end

-- What a response carries depends on what was asked; returns it as text.
local function dissect_result(buffer, tree, status, command)
  local octets = buffer(6, 8)
  local item = tree:add(f.result, octets)
  local number = octets:uint64()
  if status ~= 0 then
    if number ~= UInt64(0) then
      item:add_proto_expert_info(e.result, "An error carries a number")
    end
    return nil
  end
  if command == nil or command < 3 then
    tree:add(f.number, octets)
    return tostring(number)
  end
  local off = number == UInt64(1) or number == UInt64(0, 0x01000000)
  if number ~= UInt64(0) and not off then
    item:add_proto_expert_info(e.result, "Neither on nor off")
    return nil
  end
  tree:add(f.enabled, octets, not off)
  return off and "off" or "on"
end

local function dissect_response(buffer, pinfo, tree)
  local status = buffer(5, 1):uint()
  local item = tree:add(f.status, buffer(5, 1))
  if not STATUSES[status] then
    item:add_proto_expert_info(e.status)
  elseif status ~= 0 then
    item:add_proto_expert_info(e.failed, STATUSES[status])
  end
  if not pinfo.visited then
    learn_response(pinfo, buffer(3, 2):uint())
  end
  local request = responses[pinfo.number]
  local asked = request and requests[request]
  local value = dissect_result(buffer, tree, status, asked and asked.command)
  if asked then
    tree:add(f.response_to, request):set_generated()
    local nanoseconds = math.floor((pinfo.rel_ts - asked.time) * 1e9 + 0.5)
    tree:add(f.time, NSTime(math.floor(nanoseconds / 1e9), nanoseconds % 1e9)):set_generated()
  else
    tree:add_proto_expert_info(e.unasked)
  end
  local text = string.format("Response 0x%04x, %s", buffer(3, 2):uint(), STATUSES[status] or "reserved status")
  return value and text .. ": " .. value or text
end

function smtpstatus.dissector(buffer, pinfo, tree)
  local length = buffer:reported_length_remaining()
  if length == 0 then
    return 0
  end
  pinfo.cols.protocol = "SMTPStatus"
  local subtree = tree:add(smtpstatus, buffer())
  if length < 2 or buffer(0, 2):uint() ~= SIGNATURE then
    subtree:add_proto_expert_info(e.signature)
    pinfo.cols.info = string.format("Foreign datagram, %d bytes", length)
    return length
  end
  subtree:add(f.signature, buffer(0, 2))
  if length > 2 then
    local version = subtree:add(f.version, buffer(2, 1))
    if buffer(2, 1):uint() ~= 0 then
      version:add_proto_expert_info(e.version)
    end
  end
  if length >= 5 then
    subtree:add(f.id, buffer(3, 2))
  end
  if length ~= LENGTH then
    subtree:add_proto_expert_info(e.length, string.format("%d bytes, not %d", length, LENGTH))
    pinfo.cols.info = string.format("Malformed, %d bytes", length)
    if length >= 5 and not pinfo.visited and pinfo.dst_port == smtpstatus.prefs.port then
      learn_request(pinfo, buffer(3, 2):uint(), nil)
    end
    return length
  end
  local dissect = pinfo.dst_port == smtpstatus.prefs.port and dissect_request or dissect_response
  pinfo.cols.info = dissect(buffer, pinfo, subtree)
  return length
end

local registered = nil

local function register()
  local udp = DissectorTable.get("udp.port")
  if registered then
    udp:remove(registered, smtpstatus)
  end
  registered = smtpstatus.prefs.port
  udp:add(registered, smtpstatus)
end

smtpstatus.prefs_changed = register
register()
