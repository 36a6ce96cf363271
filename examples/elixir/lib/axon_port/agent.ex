defmodule AxonPort.Agent do
  @moduledoc """
  An agent: model, instructions, tools and output in one place, as data.

  As a module, with its tools as functions:

      defmodule Guide do
        use AxonPort.Agent,
          model: "openai:gpt-5.2",
          instructions: "You help people to dress for the weather.",
          output: Guide.Advice

        @tool description: "The weather in a city.", parameters: %{city: :string}
        def weather(%{city: city}, _context), do: {:ok, %{degrees: Weather.now(city)}}
      end

      {:ok, result} = AxonPort.run_sync(MyApp.Agents, Guide, "What shall I wear in Riga?")
      %Guide.Advice{} = result.output

  or as a value, for agents that are made while the system runs:

      AxonPort.Agent.new(id: "guide", model: "openai:gpt-5.2", tools: [Weather])

  The fields of `use` are read each time the agent is asked for, so they may call functions and read the application's
  environment. `@tool` marks the function that follows it as a tool of that name; its options are those of
  `AxonPort.Tool`, where `approve:` and `resolve:` may name a function of the module.

  ## Fields

  | field | meaning |
  | --- | --- |
  | `:id` | 1 to 256 characters; of a module its name |
  | `:model` | `"provider:name"`, `{:script, turns}`, `%{name: _, base_url: _, api_key: _}`, or a list, tried in order |
  | `:module` | in place of a model: `"package.module:attribute"`, an agent written in Python |
  | `:instructions`, `:system_prompt` | a text or a list of texts; templates, filled from the `deps` |
  | `:tools` | what `AxonPort.Tool.new/1` takes |
  | `:output` | a type (see `AxonPort.Schema`): the model's answer meets it, and is cast by it |
  | `:output_mode` | `:tool` (the default), `:native`, `:prompted` |
  | `:deps`, `:deps_schema` | default dependencies of a run, and the type that they must meet |
  | `:model_settings`, `:usage_limits`, `:metadata` | maps, as in the protocol |
  | `:end_strategy` | `:early`, `:graceful`, `:exhaustive` |
  | `:retries`, `:output_retries` | how often the model may try again, for each tool and for the output |
  | `:timeout`, `:tool_timeout`, `:idle_timeout` | milliseconds, for a run, a call, a silent model |
  | `:max_concurrency` | runs of this agent at one time, on one worker |
  | `:retry` | `[attempts: 3, base_ms: 500, max_ms: 30_000]`: of one model request, inside the worker |
  | `:capabilities` | pydantic-ai's, as in the protocol |

  An agent that is inspected shows neither its model nor its deps: they may hold keys.
  """

  import AxonPort.Milliseconds, only: [is_milliseconds: 1]

  alias AxonPort.{Plain, Schema, Tool}
  alias AxonPort.Schema.Type

  @type t :: %__MODULE__{
          id: String.t(),
          model: term,
          module: String.t() | nil,
          instructions: String.t() | [String.t()] | nil,
          system_prompt: String.t() | [String.t()] | nil,
          tools: [Tool.t()],
          output: Type.notation(),
          output_mode: :tool | :native | :prompted | nil,
          deps: term,
          deps_schema: Type.notation(),
          model_settings: map | nil,
          usage_limits: map | nil,
          metadata: map | nil,
          end_strategy: :early | :graceful | :exhaustive | nil,
          retries: non_neg_integer | nil,
          output_retries: non_neg_integer | nil,
          timeout: pos_integer | nil,
          tool_timeout: pos_integer | nil,
          idle_timeout: pos_integer | nil,
          max_concurrency: pos_integer | nil,
          retry: map | keyword | nil,
          capabilities: [term] | nil
        }

  @derive {Inspect, only: [:id, :tools, :output]}
  @enforce_keys [:id]
  defstruct [
    :id,
    :model,
    :module,
    :instructions,
    :system_prompt,
    :output,
    :output_mode,
    :deps,
    :deps_schema,
    :model_settings,
    :usage_limits,
    :metadata,
    :end_strategy,
    :retries,
    :output_retries,
    :timeout,
    :tool_timeout,
    :idle_timeout,
    :max_concurrency,
    :retry,
    :capabilities,
    tools: []
  ]

  # Those that go as they are, by their names here and on the wire.
  @as_they_are %{
    id: "agent_id",
    module: "module",
    instructions: "instructions",
    system_prompt: "system_prompt",
    output_mode: "output_mode",
    deps: "deps",
    model_settings: "model_settings",
    usage_limits: "usage_limits",
    metadata: "metadata",
    end_strategy: "end_strategy",
    retries: "retries",
    output_retries: "result_retries",
    timeout: "timeout_ms",
    tool_timeout: "tool_timeout_ms",
    idle_timeout: "idle_timeout_ms",
    max_concurrency: "max_concurrency",
    retry: "retry",
    capabilities: "capabilities"
  }

  @doc "The fields of the agent, as for `new/1`; `use AxonPort.Agent` defines it."
  @callback agent() :: keyword

  @doc false
  defmacro __using__(fields) do
    quote do
      @behaviour AxonPort.Agent
      @on_definition {AxonPort.Agent, :__on_definition__}
      @before_compile AxonPort.Agent
      Module.register_attribute(__MODULE__, :axon_port_tools, accumulate: true)

      @doc false
      @impl AxonPort.Agent
      def agent, do: unquote(fields)

      defoverridable agent: 0
    end
  end

  @doc false
  def __on_definition__(env, kind, name, args, _guards, _body) do
    case Module.delete_attribute(env.module, :tool) do
      nil ->
        :ok

      options when kind == :def and length(args) in [1, 2] ->
        mark_tool(env.module, {name, length(args)}, options)

      _options ->
        raise ArgumentError, "#{name} is no tool: one is public, and takes arguments and maybe a context"
    end
  end

  @doc false
  defmacro __before_compile__(env) do
    tools = env.module |> Module.get_attribute(:axon_port_tools) |> Enum.reverse()

    quote do
      @doc false
      def __axon_port_tools__, do: unquote(Macro.escape(tools))
    end
  end

  defp mark_tool(module, function, options) do
    Module.put_attribute(module, :axon_port_tools, {function, options})
  end

  @doc """
  An agent of a module, of fields, or of an agent.

  Raises `ArgumentError` on a field that is unknown, missing or wrong.
  """
  @spec new(module | keyword | map | t) :: t
  def new(%__MODULE__{} = agent), do: agent

  def new(module) when is_atom(module) do
    unless Code.ensure_loaded?(module) and function_exported?(module, :__axon_port_tools__, 0) do
      raise ArgumentError, "#{inspect(module)} is no agent: it does not `use AxonPort.Agent`"
    end

    [id: inspect(module)]
    |> Keyword.merge(module.agent())
    |> Keyword.update(:tools, marked_tools(module), &(&1 ++ marked_tools(module)))
    |> new()
  end

  def new(fields) do
    fields = fields |> Map.new() |> Map.update(:tools, [], fn tools -> Enum.map(tools, &Tool.new/1) end)
    Enum.each(fields, &check!/1)
    fields |> then(&struct!(__MODULE__, &1)) |> coherent!()
  end

  @doc """
  The fields of `create_agent`, as plain data.

  Raises `ArgumentError` for a value that has no form in JSON, and for a type that holds a module without a schema.
  """
  @spec to_command(t) :: %{String.t() => Plain.t()}
  def to_command(%__MODULE__{} = agent) do
    fields =
      for {field, name} <- @as_they_are, (value = Map.fetch!(agent, field)) != nil, into: %{} do
        {name, Plain.object(value)}
      end

    fields
    |> put("model", agent.model && model(agent.model))
    |> put("output_schema", agent.output && Schema.to_json(agent.output))
    |> put("deps_schema", agent.deps_schema && Schema.to_json(agent.deps_schema))
    |> put("tools", if(agent.tools != [], do: Enum.map(agent.tools, &Tool.to_command/1)))
    |> Plain.from!()
  end

  @doc "A model as plain data: what stands under `:model`, of an agent or of a run."
  @spec model(term) :: Plain.t()
  def model({:script, turns}), do: %{"script" => Plain.from!(turns)}
  # A keyword list is one endpoint; every other list is of models.
  def model([{key, _value} | _more] = endpoint) when key != :script do
    endpoint |> Map.new() |> Plain.from!()
  end

  def model(models) when is_list(models), do: Enum.map(models, &model/1)
  def model(model), do: Plain.from!(model)

  @doc "A tool of the agent, by the name that the model calls."
  @spec tool(t, String.t()) :: {:ok, Tool.t()} | :error
  def tool(%__MODULE__{tools: tools}, name) do
    case Enum.find(tools, &(&1.name == name)) do
      nil -> :error
      tool -> {:ok, tool}
    end
  end

  defp marked_tools(module) do
    for {{name, arity}, options} <- module.__axon_port_tools__() do
      [name: Atom.to_string(name), run: Function.capture(module, name, arity)]
      |> Keyword.merge(options)
      |> callback(:approve, module)
      |> callback(:resolve, module)
      |> Tool.new()
    end
  end

  defp callback(options, name, module) do
    case options[name] do
      function when is_atom(function) and function != nil ->
        Keyword.put(options, name, Function.capture(module, function, 2))

      _function_or_nil ->
        options
    end
  end

  defp put(fields, _name, nil), do: fields
  defp put(fields, name, value), do: Map.put(fields, name, value)

  defp coherent!(%{model: nil, module: nil} = agent), do: refuse!(agent, "has neither a model nor a module")

  defp coherent!(%{model: model, module: module} = agent) when model != nil and module != nil do
    refuse!(agent, "has a model and a module")
  end

  defp coherent!(%{tools: tools} = agent) do
    names = Enum.map(tools, & &1.name)

    case names -- Enum.uniq(names) do
      [] -> agent
      [name | _more] -> refuse!(agent, "has two tools of the name #{name}")
    end
  end

  @spec refuse!(t, String.t()) :: no_return
  defp refuse!(agent, why), do: raise(ArgumentError, "agent #{agent.id} #{why}")

  @texts [:instructions, :system_prompt]
  @budgets [:retries, :output_retries]
  @limits [:timeout, :tool_timeout, :idle_timeout]
  # What is pydantic-ai's own, the worker judges.
  @unjudged [:model, :deps, :model_settings, :usage_limits, :metadata, :retry, :capabilities]

  defp check!({:id, id}) when is_binary(id) and byte_size(id) > 0, do: :ok
  defp check!({field, nil}) when field != :id, do: :ok
  defp check!({:tools, tools}) when is_list(tools), do: :ok
  defp check!({schema, type}) when schema in [:output, :deps_schema], do: Type.read!(type)
  defp check!({:output_mode, mode}) when mode in [:tool, :native, :prompted], do: :ok
  defp check!({:end_strategy, strategy}) when strategy in [:early, :graceful, :exhaustive], do: :ok
  defp check!({limit, ms}) when limit in @limits and is_milliseconds(ms), do: :ok
  defp check!({:max_concurrency, n}) when is_integer(n) and n > 0, do: :ok
  defp check!({budget, n}) when budget in @budgets and is_integer(n) and n >= 0, do: :ok
  defp check!({text, value}) when text in @texts and is_binary(value), do: :ok

  defp check!({texts, values}) when texts in @texts and is_list(values),
    do: Enum.each(values, &text!(texts, &1))

  defp check!({:module, reference}) when is_binary(reference), do: :ok
  defp check!({field, _value}) when field in @unjudged, do: :ok

  defp check!({field, value}) do
    raise ArgumentError, "an agent's #{inspect(field)} cannot be #{inspect(value)}"
  end

  defp text!(_field, text) when is_binary(text), do: :ok
  defp text!(field, other), do: raise(ArgumentError, "no text among #{inspect(field)}: #{inspect(other)}")
end
