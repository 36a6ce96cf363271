#!/usr/bin/env escript
%%! -hidden
%% A parent in Erlang: a stream that is taken two chunks at a time, a run that is cancelled, an orderly end.
%% Wants axon-port on the PATH, and jiffy (erlang-jiffy in Debian) for JSON.

main([]) ->
    Worker = case os:find_executable("axon-port") of
        false -> io:format("axon-port is not on the PATH~n"), halt(1);
        Path -> Path
    end,
    %% {packet, 4} makes and reads the frames; exit_status tells when the worker has gone, and how.
    Port = open_port({spawn_executable, Worker}, [{packet, 4}, binary, exit_status]),

    Words = [<<"one ">>, <<"two ">>, <<"three ">>, <<"four ">>, <<"five">>],
    create(Port, 1, <<"counter">>, #{chunks => Words}),
    tell(Port, #{type => stream, id => 2, agent_id => <<"counter">>, prompt => <<"Count">>, credit => 2}),
    io:format("the stream says: ~s~n", [stream(Port, 2, 2, [])]),

    %% An hour of thinking, and nobody who waits for it.
    create(Port, 3, <<"thinker">>, #{text => <<"42">>, delay_ms => 3600000}),
    tell(Port, #{type => run, id => 4, agent_id => <<"thinker">>, prompt => <<"Think">>}),
    tell(Port, #{type => cancel, id => 5, target => 4}),
    #{<<"error_type">> := Why} = answer(Port, 4),
    io:format("the run ended with ~s~n", [Why]),

    %% Closing the port would do: the end of its input tells a worker to finish. This way its status can be seen.
    tell(Port, #{type => shutdown, id => 6}),
    receive
        {Port, {exit_status, Status}} -> io:format("exit status ~b~n", [Status])
    after 60000 -> error(still_there)
    end.

create(Port, Id, Name, Turn) ->
    tell(Port, #{type => create_agent, id => Id, agent_id => Name, model => #{script => [Turn]}}),
    #{<<"type">> := <<"result">>} = answer(Port, Id).

tell(Port, Command) ->
    port_command(Port, jiffy:encode(Command)).

%% The next frame with this id; what else comes (logs, answers to others) stays unread here.
next(Port, Id) ->
    receive
        {Port, {data, Frame}} ->
            case jiffy:decode(Frame, [return_maps]) of
                #{<<"id">> := Id} = Found -> Found;
                _Other -> next(Port, Id)
            end;
        {Port, {exit_status, Status}} -> error({worker_gone, Status})
    after 60000 -> error({no_answer, Id})
    end.

answer(Port, Id) ->
    case next(Port, Id) of
        #{<<"type">> := Type} = Frame when Type =:= <<"result">>; Type =:= <<"error">> -> Frame;
        _Before -> answer(Port, Id)
    end.

%% Each chunk costs a credit. With none left the worker keeps what comes and joins it.
stream(Port, Id, 0, Seen) ->
    tell(Port, #{type => credit, id => Id, n => 2}),
    stream(Port, Id, 2, Seen);
stream(Port, Id, Credit, Seen) ->
    case next(Port, Id) of
        #{<<"type">> := <<"chunk">>, <<"data">> := Text} -> stream(Port, Id, Credit - 1, [Seen, Text]);
        #{<<"type">> := <<"result">>, <<"result">> := Whole} -> Whole = iolist_to_binary(Seen)
    end.
