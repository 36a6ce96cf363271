defmodule AxonPort.PythonEnv do
  @moduledoc """
  Whether a worker can be started here, and what to do if not.

  Five checks, each of which needs those before it:

  | check | asks |
  | --- | --- |
  | `:program` | is there such a program? |
  | `:interpreter` | is the Python that runs it new enough? |
  | `:package` | is axon-port installed for it? |
  | `:codec` | does this node have a JSON codec (`AxonPort.Codec`)? |
  | `:start` | does a worker start, answer a scripted run, and end? |

  `mix axon_port.doctor` prints them. In a release, call `check/1` from wherever a node reports on itself:

      case AxonPort.PythonEnv.check(command: ["/opt/venv/bin/axon-port"]) do
        {:ok, _checks} -> :ok
        {:error, checks} -> Logger.error(AxonPort.PythonEnv.format(checks))
      end
  """

  alias AxonPort.{Codec, Error, Options}
  alias AxonPort.PythonEnv.{Check, Program}

  @oldest_python {3, 11}

  # A cold start of Python with pydantic-ai, on a machine that has other things to do.
  @timeout 60_000

  @version_script "import sys; print('%d.%d.%d' % sys.version_info[:3])"

  @doc """
  Makes all checks with the options of a worker (`AxonPort.Options`), and `:check_timeout` in ms for each of them.

  After the first that fails the others are `:skipped`. Raises `ArgumentError` on options that are none.
  """
  @spec check(keyword) :: {:ok, [Check.t()]} | {:error, [Check.t()]}
  def check(options \\ []) do
    {timeout, options} = Keyword.pop(options, :check_timeout, @timeout)
    start = %{options: Options.new(options), timeout: timeout, program: nil, arguments: [], python: nil}

    steps = [
      program: &program/1,
      interpreter: &interpreter/1,
      package: &package/1,
      codec: &codec/1,
      start: &dry_start/1
    ]

    {checks, _context} = Enum.map_reduce(steps, start, &step/2)
    {if(Enum.all?(checks, &(&1.status == :ok)), do: :ok, else: :error), checks}
  end

  @doc "The checks as lines of text, with what to do."
  @spec format([Check.t()]) :: String.t()
  def format(checks), do: Enum.map_join(checks, "\n", &Check.format/1)

  defp step({name, _check}, :failed), do: {%Check{name: name, status: :skipped}, :failed}

  defp step({name, check}, context) do
    case check.(context) do
      {:ok, found, context} -> {%Check{name: name, status: :ok, found: found}, context}
      {:error, found, advice} -> {%Check{name: name, status: :failed, found: found, advice: advice}, :failed}
    end
  end

  defp program(context) do
    case Options.command_line(context.options) do
      {:ok, program, arguments} ->
        python = Program.interpreter(program)
        {:ok, program, %{context | program: program, arguments: arguments, python: python}}

      {:error, %Error{message: message}} ->
        {:error, message,
         "install axon-port into a Python environment, and put that on the PATH, set AXON_PORT_PYTHON to its " <>
           "python, or give the worker its :command"}
    end
  end

  defp interpreter(%{python: nil} = context), do: {:ok, "not a script: the dry start will tell", context}

  defp interpreter(%{python: python} = context) do
    with {:ok, text, 0} <- run(context, python, ["-c", @version_script]),
         {:ok, version} <- version(text) do
      if version >= @oldest_python do
        {:ok, "Python #{String.trim(text)}, #{python}", context}
      else
        {:error, "Python #{String.trim(text)}, #{python}",
         "axon-port needs Python #{oldest_python()} or newer"}
      end
    else
      fault -> {:error, "#{python}: #{told(fault)}", "this is no Python, or a broken one: name another"}
    end
  end

  # The command without the worker's own options: those are for the start to judge.
  defp package(%{options: options, python: python} = context) do
    {:ok, program, arguments} = Options.command_line(%Options{command: options.command})

    case run(context, program, arguments ++ ["--version"]) do
      {:ok, "axon-port " <> version, 0} ->
        {:ok, "axon-port #{String.trim(version)}", context}

      fault ->
        {:error, told(fault),
         "install it from its checkout: #{python || "python3"} -m pip install PATH, in a virtual environment"}
    end
  end

  defp codec(context) do
    case Codec.available() do
      [codec | _] -> {:ok, inspect(codec), context}
      [] -> {:error, "this node has no JSON codec", Codec.advice()}
    end
  end

  defp dry_start(context) do
    agent = %{agent_id: "doctor", model: %{script: [%{text: "well"}]}}

    input = [
      frame(Map.merge(agent, %{type: "create_agent", id: 1})),
      frame(%{type: "run", id: 2, agent_id: "doctor", prompt: "How are you?", messages: "none"}),
      frame(%{type: "shutdown", id: 3, grace_ms: context.timeout})
    ]

    outcome = run(context, context.program, context.arguments, input)

    with {:ok, output, 0} <- outcome,
         {frames, ""} <- frames(output),
         %{} = ready <- Enum.find(frames, &(&1["type"] == "ready")),
         %{"result" => "well"} <- Enum.find(frames, &(&1["id"] == 2 and &1["type"] == "result")) do
      {:ok, "protocol #{ready["protocol"]}, pydantic-ai #{ready["pydantic_ai"]}, Python #{ready["python"]}",
       context}
    else
      _fault -> {:error, told(outcome), "a worker starts by hand with: #{command_line(context)}"}
    end
  end

  defp run(context, program, arguments, input \\ []) do
    Program.run(program, arguments, input, context.timeout,
      env: Options.env(context.options),
      cd: context.options.cd
    )
  end

  defp frame(command) do
    json = Codec.encode!(command)
    [<<byte_size(json)::32>>, json]
  end

  # The frames at the beginning, and what comes after them: text, where something failed before there were any.
  defp frames(<<length::32, json::binary-size(length), rest::binary>> = output) do
    case Codec.decode(json) do
      {:ok, frame} ->
        {frames, rest} = frames(rest)
        {[frame | frames], rest}

      {:error, _error} ->
        {[], output}
    end
  end

  defp frames(output), do: {[], output}

  # The last thing that a program said is most often the reason.
  defp told({:ok, output, status}), do: "exit status #{status}: #{last_words(frames(output))}"
  defp told({:error, reason}), do: "it cannot be run: #{reason}"
  defp told(:timeout), do: "it did not end in time"
  defp told(_fault), do: "its answer is not understood"

  defp last_words({frames, ""}) do
    words = for %{"type" => type, "message" => message} when type in ["error", "log"] <- frames, do: message
    List.last(words) || "it did not say why"
  end

  defp last_words({_frames, text}) do
    text
    |> String.split("\n", trim: true)
    |> List.last()
    |> inspect(binaries: :as_strings, printable_limit: 500)
  end

  defp version(text) do
    case text |> String.trim() |> String.split(".") |> Enum.map(&Integer.parse/1) do
      [{major, ""}, {minor, ""}, {_patch, ""}] -> {:ok, {major, minor}}
      _other -> :error
    end
  end

  defp oldest_python, do: @oldest_python |> Tuple.to_list() |> Enum.join(".")

  defp command_line(%{program: program, arguments: arguments}), do: Enum.join([program | arguments], " ")
end
