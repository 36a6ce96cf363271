defmodule AxonPort.OptionsTest do
  use ExUnit.Case, async: true

  alias AxonPort.{Error, Options, Worker}

  @wrong [
    colour: :red,
    command: [],
    command: "axon-port",
    args: [1],
    env: [{"A", 1}],
    env: ["A"],
    env: [{"", "1"}],
    env: [{"A=B", "1"}],
    env: [{<<255>>, "1"}],
    env: [{"A", <<255>>}],
    env: [{"A", <<0>>}],
    env: %{"A" => "1"},
    command: ["axon-port", <<0>>],
    args: [<<255>>],
    cd: <<255>>,
    allow_import: [<<0>>],
    name: "worker",
    task_supervisor: "tasks",
    load: 3,
    cd: 1,
    stderr: :null,
    log_level: :notice,
    allow_import: "shop",
    max_frame_bytes: 0,
    max_inflight: 1.5,
    ready_timeout: :infinity,
    ready_timeout: 2 ** 64,
    grace: 1.0e3,
    grace: -1,
    guard: :me
  ]

  for {key, value} <- @wrong do
    test "#{inspect(key)} cannot be #{inspect(value)}" do
      wrong = [{unquote(key), unquote(Macro.escape(value))}]
      assert_raise ArgumentError, ~r/#{unquote(key)}/, fn -> Options.new(wrong) end
    end
  end

  test "what is no keyword list has no options" do
    for options <- [[:a], [:a, {:b}], %{grace: 1}, "grace"] do
      assert_raise ArgumentError, ~r/keyword list/, fn -> Options.new(options) end
      assert_raise ArgumentError, ~r/keyword list/, fn -> Worker.start_link(options) end
      assert_raise ArgumentError, ~r/keyword list/, fn -> AxonPort.Supervisor.start_link(options) end
    end
  end

  test "an error about what a program is started with shows nothing of it" do
    secret = "sk-secret" <> <<255>>

    for options <- [
          [env: [{"KEY", secret}]],
          [env: [{"KEY", "sk-secret" <> <<0>>}]],
          [env: [{"A=B", "sk-secret"}]],
          [env: fn -> "sk-secret" end, command: [secret]],
          [args: ["--key", secret]]
        ] do
      error = assert_raise ArgumentError, fn -> Options.new(options) end
      refute error.message =~ "secret"
    end
  end

  test "an environment may be given by a function, which is looked at when a worker starts" do
    options = Options.new(env: fn -> [{"KEY", "sk-secret"}, {"OTHER", nil}] end)
    assert Options.env(options) == [{"KEY", "sk-secret"}, {"OTHER", nil}]
    refute to_string(:io_lib.format("~p", [options])) =~ "secret"

    Process.flag(:trap_exit, true)
    wrong = [command: ["sh"], env: fn -> [{"KEY", "sk-secret" <> <<255>>}] end]
    assert {:error, %Error{reason: :worker_not_started} = error} = Worker.start_link(wrong)
    refute inspect(error) =~ "secret"
  end

  test "neither options nor an error about them show the environment" do
    error = assert_raise ArgumentError, fn -> Options.new(env: [{"KEY", 'sk-secret'}]) end
    refute error.message =~ inspect('sk-secret')
    assert error.message =~ ":env"
    refute inspect(Options.new(env: [{"KEY", "sk-secret"}])) =~ "secret"
  end

  test "nil is as if it were not there" do
    assert Options.new(cd: nil, grace: nil) == %Options{}
  end

  test "options become the worker's arguments" do
    options =
      Options.new(
        command: ["sh", "first"],
        args: ["last"],
        max_frame_bytes: 1000,
        max_inflight: 2,
        log_level: :debug,
        allow_import: ["shop", "store"],
        allow_capability: ["MCP"]
      )

    assert {:ok, program, arguments} = Options.command_line(options)
    assert Path.basename(program) == "sh"
    assert hd(arguments) == "first" and List.last(arguments) == "last"

    assert Enum.chunk_every(Enum.slice(arguments, 1..-2//1), 2) |> Enum.sort() == [
             ["--allow-capability", "MCP"],
             ["--allow-import", "shop"],
             ["--allow-import", "store"],
             ["--log-level", "debug"],
             ["--max-frame-bytes", "1000"],
             ["--max-inflight", "2"]
           ]
  end

  test "a program that there is not is told by name" do
    assert {:error, %Error{reason: :worker_not_started, message: message}} =
             Options.command_line(Options.new(command: ["no-such-program"]))

    assert message =~ "no-such-program"
  end
end
