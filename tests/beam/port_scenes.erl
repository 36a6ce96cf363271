%% A parent on a real port. One scene for each test: test_port.py names it, the assertions are matches in here.
-module(port_scenes).
-export([main/1]).

-define(DEADLINE, 60000).
-define(PARAMETERS, #{type => object, properties => #{n => #{type => integer}}}).

main([Name]) ->
    try scene(list_to_atom(Name)) of
        _ -> io:format("done~n"), halt(0)
    catch
        Class:Reason:Stack ->
            io:format("~p: ~p~n~p~nmailbox: ~p~n", [Class, Reason, Stack, process_info(self(), messages)]),
            halt(1)
    end.

%% Scenes that end by themselves

scene(runs) ->
    Port = open(),
    create(Port, <<"poet">>, [#{text => <<"roses">>}]),
    Ids = lists:seq(1, 50) ++ [integer_to_binary(N) || N <- lists:seq(1, 50)],
    [run(Port, Id, <<"poet">>) || Id <- Ids],
    Ended = [terminal(Port, Id) || Id <- Ids],
    100 = length([found || #{<<"type">> := <<"result">>, <<"result">> := <<"roses">>} <- Ended]),
    leave(Port);

scene(stream) ->
    Port = open(),
    create(Port, <<"poet">>, [#{chunks => [<<"a">>, <<"b">>, <<"c">>, <<"d">>]}]),
    tell(Port, #{type => stream, id => s, agent_id => <<"poet">>, prompt => <<"go">>, credit => 1}),
    #{<<"seq">> := 0, <<"data">> := <<"a">>} = await(Port, <<"chunk">>, <<"s">>),
    %% No credit, no chunk: the pong is the next frame.
    tell(Port, #{type => ping, id => p}),
    #{<<"id">> := <<"p">>} = next(Port),
    tell(Port, #{type => credit, id => s, n => 100}),
    {<<"bcd">>, #{<<"result">> := <<"abcd">>}} = rest(Port, <<"s">>, 1, <<>>),
    leave(Port);

scene(tools) ->
    Port = open(),
    Calls = [#{name => double, args => #{n => N}} || N <- [1, 2]],
    create(Port, <<"sums">>, [#{tool_calls => Calls}, #{text => <<"2 and 4">>}], [tool(double)]),
    run(Port, 1, <<"sums">>),
    %% Both are out before either is answered, and the second is answered first.
    Open = [await(Port, <<"tool_call">>, 1), await(Port, <<"tool_call">>, 1)],
    [1, 2] = lists:sort([N || #{<<"args">> := #{<<"n">> := N}} <- Open]),
    [answer(Port, Call, 2 * N) || #{<<"args">> := #{<<"n">> := N}} = Call <- lists:reverse(Open)],
    #{<<"result">> := <<"2 and 4">>, <<"messages">> := Messages} = terminal(Port, 1),
    [2, 4] = lists:sort([Value || #{<<"parts">> := Parts} <- Messages,
                                  #{<<"part_kind">> := <<"tool-return">>, <<"content">> := Value} <- Parts]),
    leave(Port);

scene(thousand) ->
    Port = open(),
    create(Port, <<"sums">>, [call(1), #{text => <<"2">>}], [tool(double)]),
    Ids = lists:seq(1, 1000),
    [run(Port, Id, <<"sums">>) || Id <- Ids],
    Open = [await(Port, <<"tool_call">>, Id) || Id <- Ids],
    1000 = length(lists:usort([CallId || #{<<"call_id">> := CallId} <- Open])),
    tell(Port, #{type => ping, id => p}),
    #{<<"result">> := #{<<"inflight">> := 1000}} = terminal(Port, <<"p">>),
    [answer(Port, Call, 2) || Call <- lists:reverse(Open)],
    [#{<<"type">> := <<"result">>} = terminal(Port, Id) || Id <- Ids],
    leave(Port);

scene(noise) ->
    Port = open(["--allow-import", "beam_noise"], [stderr_to_stdout]),
    Shout = #{name => shout, args => #{word => <<"hey">>}},
    Handler = #{name => shout, handler => #{python => <<"beam_noise:shout">>}},
    create(Port, <<"loud">>, [#{tool_calls => [Shout]}, #{text => <<"ok">>}], [Handler]),
    run(Port, 1, <<"loud">>),
    Lines = lists:sort([log_line(Port) || _ <- lists:seq(1, 5)]),
    [{<<"stderr">>, <<"stderr hey">>}, {<<"stdout">>, <<"echo hey">>}, {<<"stdout">>, <<"print hey">>},
     {<<"stdout">>, <<"puts hey">>}, {<<"stdout">>, <<"write hey">>}] = Lines,
    #{<<"result">> := <<"ok">>} = terminal(Port, 1),
    leave(Port);

scene(large) ->
    Port = open(),
    create(Port, <<"poet">>, [#{text => <<"ok">>}]),
    [begin
        Prompt = binary:copy(<<"0123456789abcdef">>, Size div 16 + 1),
        tell(Port, #{type => run, id => Size, agent_id => <<"poet">>, prompt => Prompt}),
        #{<<"messages">> := [#{<<"parts">> := [#{<<"content">> := Prompt}]} | _]} = terminal(Port, Size)
     end || Size <- [27182, 65536, 314159, 8000000]],
    leave(Port);

scene(too_long) ->
    Port = open(["--max-frame-bytes", "2048"], []),
    tell(Port, #{type => ping, id => 1, padding => binary:copy(<<"x">>, 3000)}),
    #{<<"id">> := null, <<"error_type">> := <<"FrameTooLarge">>, <<"details">> := #{<<"max_frame_bytes">> := 2048}} =
        await(Port, <<"error">>),
    tell(Port, #{type => ping, id => 2}),
    #{<<"type">> := <<"result">>} = terminal(Port, 2),
    leave(Port);

scene(descriptors) ->
    Port = open(["--nouse-stdio"], [nouse_stdio]),
    create(Port, <<"poet">>, [#{text => <<"roses">>}]),
    run(Port, 1, <<"poet">>),
    #{<<"result">> := <<"roses">>} = terminal(Port, 1),
    leave(Port);

scene(usage) ->
    Port = spawn_worker(["--no-such-option"], [stderr_to_stdout]),
    #{<<"type">> := <<"log">>, <<"logger">> := <<"stderr">>, <<"message">> := Message} = next(Port),
    {_, _} = binary:match(Message, <<"--no-such-option">>),
    64 = exit_status(Port);

scene(killed) ->
    Port = busy(open()),
    signal(Port, "KILL"),
    137 = exit_status(Port);

scene(terminated) ->
    Port = open(),
    signal(Port, "TERM"),
    #{<<"reason">> := <<"signal">>} = await(Port, <<"goodbye">>),
    0 = exit_status(Port);

scene(terminated_twice) ->
    Port = busy(open()),
    signal(Port, "TERM"),
    %% The first one has been heard once new runs are refused.
    refused(Port, 1),
    signal(Port, "TERM"),
    143 = exit_status(Port);

%% Scenes in which somebody ends the worker's parent, and test_port.py looks for the worker

scene(close_idle) -> Port = open(), on_word(Port, fun() -> port_close(Port) end);
scene(close_busy) -> Port = busy(open()), on_word(Port, fun() -> port_close(Port) end);

scene(owner_killed) ->
    Main = self(),
    Owner = spawn(fun() -> Port = busy(open()), Main ! {open, Port}, receive never -> ok end end),
    Port = receive {open, Opened} -> Opened after ?DEADLINE -> error(not_open) end,
    on_word(Port, fun() -> exit(Owner, kill) end);

scene(wait_idle) -> Port = open(), on_word(Port, fun() -> ok end);
scene(wait_busy) -> Port = busy(open()), on_word(Port, fun() -> ok end);

scene(wait_blocked) ->
    Port = open(["--allow-import", "beam_noise", "--drain-timeout", "0.2"], []),
    Handler = #{name => spin, handler => #{python => <<"beam_noise:spin">>}},
    create(Port, <<"stuck">>, [#{tool_calls => [#{name => spin}]}], [Handler]),
    run(Port, 1, <<"stuck">>),
    {<<"stdout">>, <<"spinning">>} = log_line(Port),
    on_word(Port, fun() -> ok end);

%% Workers in every state at once: hardly begun, importing, at work, with 800 open calls; then a death of the parent.
scene(crowd) ->
    Size = list_to_integer(os:getenv("CROWD")),
    Main = self(),
    Owner = spawn(fun() -> Main ! {crowd, crowd(Size)}, receive never -> ok end end),
    Ports = receive {crowd, Opened} -> Opened after ?DEADLINE -> error(no_crowd) end,
    [begin {os_pid, Pid} = erlang:port_info(Port, os_pid), io:format("worker ~b~n", [Pid]) end || Port <- Ports],
    io:format("crowd~n"),
    case io:get_line("") of
        "kill\n" -> exit(Owner, kill);
        "halt\n" -> halt(0);
        "stay\n" -> ok
    end,
    "end\n" = io:get_line("").

crowd(Size) ->
    lists:append([[spawn_worker([], []), open(), busy(open()), calling(open(["--max-tool-calls", "800"], []))]
                  || _ <- lists:seq(1, Size)]).

calling(Port) ->
    create(Port, <<"eager">>, [#{tool_calls => [#{name => double, args => #{n => N}} || N <- lists:seq(1, 800)]}],
           [tool(double)]),
    run(Port, <<"calls">>, <<"eager">>),
    [await(Port, <<"tool_call">>, <<"calls">>) || _ <- lists:seq(1, 800)],
    Port.

%% A worker with a tool call, a stream without credit and a slow model under way.
busy(Port) ->
    create(Port, <<"sums">>, [call(1)], [tool(double)]),
    run(Port, <<"call">>, <<"sums">>),
    await(Port, <<"tool_call">>, <<"call">>),
    create(Port, <<"poet">>, [#{chunks => [<<"a">>, <<"b">>]}]),
    tell(Port, #{type => stream, id => stream, agent_id => <<"poet">>, prompt => <<"go">>, credit => 1}),
    await(Port, <<"chunk">>, <<"stream">>),
    create(Port, <<"thinker">>, [#{text => <<"42">>, delay_ms => 3600000}]),
    run(Port, <<"slow">>, <<"thinker">>),
    Port.

%% Say which process the worker is, do `Deed` at a word from outside, and stay until the next one.
on_word(Port, Deed) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    io:format("worker ~b~n", [Pid]),
    "go\n" = io:get_line(""),
    Deed(),
    "end\n" = io:get_line("").

%% The port

open() -> open([], []).

open(Arguments, Options) ->
    Port = spawn_worker(Arguments, Options),
    #{<<"type">> := <<"ready">>, <<"protocol">> := 1, <<"pid">> := Pid} = next(Port),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Port.

spawn_worker(Arguments, Options) ->
    Python = os:getenv("WORKER_PYTHON"),
    open_port({spawn_executable, Python},
              [{args, ["-m", "axon_port" | Arguments]}, {packet, 4}, binary, exit_status | Options]).

tell(Port, Command) ->
    true = port_command(Port, jiffy:encode(Command)).

%% Frames are read from the port one by one and stay in the mailbox, decoded, until somebody wants them.
next(Port) ->
    receive {frame, Frame} -> Frame after 0 -> read(Port), next(Port) end.

read(Port) ->
    receive
        {Port, {data, Data}} -> self() ! {frame, jiffy:decode(Data, [return_maps])};
        {Port, {exit_status, Status}} -> error({gone, Status})
    after ?DEADLINE -> error(nothing_came)
    end.

await(Port, Type) ->
    receive {frame, #{<<"type">> := Type} = Frame} -> Frame after 0 -> read(Port), await(Port, Type) end.

await(Port, Type, Id) ->
    receive
        {frame, #{<<"type">> := Type, <<"id">> := Id} = Frame} -> Frame
    after 0 -> read(Port), await(Port, Type, Id)
    end.

terminal(Port, Id) ->
    receive
        {frame, #{<<"type">> := <<"result">>, <<"id">> := Id} = Frame} -> Frame;
        {frame, #{<<"type">> := <<"error">>, <<"id">> := Id} = Frame} -> Frame
    after 0 -> read(Port), terminal(Port, Id)
    end.

exit_status(Port) ->
    receive {Port, {exit_status, Status}} -> Status after ?DEADLINE -> error(did_not_exit) end.

%% An orderly end, after which nothing is left that nobody has asked for.
leave(Port) ->
    tell(Port, #{type => shutdown, id => leave}),
    #{<<"result">> := #{}} = terminal(Port, <<"leave">>),
    #{<<"reason">> := <<"shutdown">>} = await(Port, <<"goodbye">>),
    0 = exit_status(Port),
    [] = unexpected(Port).

unexpected(Port) ->
    receive
        {frame, #{<<"type">> := <<"log">>}} -> unexpected(Port);
        {frame, Frame} -> [Frame | unexpected(Port)];
        {Port, Other} -> [Other | unexpected(Port)]
    after 0 -> []
    end.

signal(Port, Name) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    "" = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(Pid)).

%% Commands

create(Port, Name, Script) -> create(Port, Name, Script, []).

create(Port, Name, Script, Tools) ->
    Id = <<"create ", Name/binary>>,
    tell(Port, #{type => create_agent, id => Id, agent_id => Name, model => #{script => Script}, tools => Tools}),
    #{<<"type">> := <<"result">>} = terminal(Port, Id).

run(Port, Id, Agent) ->
    tell(Port, #{type => run, id => Id, agent_id => Agent, prompt => <<"go">>}).

answer(Port, #{<<"id">> := Id, <<"call_id">> := CallId}, Value) ->
    tell(Port, #{type => tool_result, id => Id, call_id => CallId, result => Value}).

tool(Name) -> #{name => Name, parameters => ?PARAMETERS}.

call(N) -> #{tool_calls => [#{name => double, args => #{n => N}}]}.

log_line(Port) ->
    #{<<"logger">> := Logger, <<"message">> := Message} = await(Port, <<"log">>),
    {Logger, Message}.

rest(Port, Id, Seq, Text) ->
    case next(Port) of
        #{<<"type">> := <<"chunk">>, <<"id">> := Id, <<"seq">> := Seq, <<"data">> := More} ->
            rest(Port, Id, Seq + 1, <<Text/binary, More/binary>>);
        #{<<"id">> := Id} = Terminal ->
            {Text, Terminal}
    end.

%% Ask for runs of an agent that there is none of, until one is refused for another reason.
refused(Port, Number) ->
    Id = <<"refused ", (integer_to_binary(Number))/binary>>,
    run(Port, Id, <<"nobody">>),
    case terminal(Port, Id) of
        #{<<"error_type">> := <<"ShuttingDown">>} -> ok;
        #{<<"error_type">> := <<"AgentNotFound">>} -> refused(Port, Number + 1)
    end.
